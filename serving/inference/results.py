"""Makes answers from what a model's graph gives: classes and features.

There is no HTTP here: the server's handlers and the in-process client both call these functions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from artifacts import InputPolicy, probabilities
from artifacts.graph import OUTPUTS
from artifacts.pictures import Picture
from serving.inference.models import ServedModel
from serving.pictures.header import size_of
from serving.problems import RequestError
from serving.schemas import Classification, ClassifiedPicture, Prediction, Size


def classify(model: ServedModel, pictures: Sequence[Picture], top: int) -> Classification:
    """Name the `top` most probable classes of each picture.

    Args:
        model: a classifier.
        pictures: uint8 H x W x 3, of any mix of sizes.
        top: number of classes wanted, at least 1; all if there are fewer.

    Raises:
        RequestError: the model is no classifier.
    """
    output = logits_output(model)
    logits = model.runtime.run(pictures, [output])[output]
    return classification(model, [size_of(picture) for picture in pictures], logits, top)


def logits_output(model: ServedModel) -> str:
    """Output that gives a classifier's logits.

    Raises:
        RequestError: the model is no classifier.
    """
    if model.manifest.task != "classification":
        raise RequestError(
            "task-not-supported",
            f"model {model.name!r} gives embeddings, not classes; ask for its features.",
        )
    return OUTPUTS["classification"]


def classification(
    model: ServedModel,
    sizes: Sequence[tuple[int, int]],
    logits: npt.NDArray[np.float32],
    top: int,
) -> Classification:
    """The answer of `classify` to pictures of `sizes` (width, height) with these logits (N x C)."""
    shares = probabilities(logits, model.manifest.temperature)  # (N, C)
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    rows = shares[np.arange(len(shares))[:, None], best].tolist()
    names = model.manifest.classes
    return Classification(
        model=model.stamp,
        provider=model.runtime.provider,
        pictures=tuple(
            _classified(model, size, [names[i] for i in indices], row)
            for size, indices, row in zip(sizes, best.tolist(), rows, strict=True)
        ),
    )


def treatment(policy: InputPolicy, width: int, height: int) -> str:
    """Say in words how a picture of a size in pixels is prepared."""
    shown, resized = policy.target(width, height), policy.resized(width, height)
    steps = []
    if resized != (width, height):
        steps.append(f"rescaled {width}x{height} -> {resized[0]}x{resized[1]}")
    if resized != shown:
        step = "padded" if policy.resize == "pad" else "cropped"
        steps.append(f"{step} to {shown[0]}x{shown[1]}")
    return ", ".join(steps) or "shown as it is"


def features(model: ServedModel, pictures: Sequence[Picture]) -> npt.NDArray[np.float32]:
    """What the head sees: the output `features`, or the embedding of an embedding model.

    Args:
        model: one that gives either.
        pictures: uint8 H x W x 3, of any mix of sizes.

    Returns:
        float32 N x D.

    Raises:
        RequestError: the graph has no such output.
    """
    output = features_output(model)
    return model.runtime.run(pictures, [output])[output]


def features_output(model: ServedModel) -> str:
    """Output that gives what `features` returns.

    Raises:
        RequestError: the graph has none.
    """
    for name in ("features", OUTPUTS["embedding"]):
        if name in model.runtime.output_names:
            return name
    raise RequestError(
        "task-not-supported", f"the graph of model {model.name!r} gives no features."
    )


def _classified(
    model: ServedModel, size: tuple[int, int], names: list[str], shares: list[float]
) -> ClassifiedPicture:
    width, height = size
    shown = model.manifest.input.target(width, height)
    return ClassifiedPicture(
        size=Size(width=width, height=height),
        shown=Size(width=shown[0], height=shown[1]),
        treatment=treatment(model.manifest.input, width, height),
        top=tuple(Prediction(label=n, probability=p) for n, p in zip(names, shares, strict=True)),
    )
