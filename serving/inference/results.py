"""Makes answers from what a model's graph gives: classes and features.

There is no HTTP here: the server's handlers and the in-process client both call these functions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from artifacts import Manifest, probabilities
from artifacts.graph import OUTPUTS
from artifacts.preprocessing import Prepared
from artifacts.runtime import Outputs
from serving.inference.served_model import ServedModel
from serving.inference.verdicts import check_question, class_sets, judge, verdicts
from serving.problems import RequestError
from serving.schemas import (
    Classification,
    ClassifiedPicture,
    ClassSet,
    Prediction,
    Size,
    Verdict,
)


def classify(
    model: ServedModel,
    prepared: Sequence[Prepared],
    top: int,
    keep: float | None = None,
    coverage: float | None = None,
) -> Classification:
    """Name the `top` most probable classes of each picture.

    Of a multi-label model, all classes that are present are named, too.

    Args:
        model: a classifier or a multi-label model.
        prepared: pictures, of any mix of sizes.
        top: number of classes wanted, at least 1; all if there are fewer.
        keep: share of known pictures to keep; None for the default.
        coverage: frequency with which sets of classes shall hold the truth; None for no sets.

    Raises:
        RequestError: the model gives no classes, or see `verdicts.check_question`.
    """
    names = classify_outputs(model, keep, coverage)
    outputs = model.runtime.run([p.picture for p in prepared], names, prepared=True)
    return classification(model, prepared, outputs, top, keep, coverage)


def classify_outputs(
    model: ServedModel, keep: float | None = None, coverage: float | None = None
) -> tuple[str, ...]:
    """Outputs that `classification` needs: the logits first, and features for verdicts.

    Raises:
        RequestError: the model gives no classes, or see `verdicts.check_question`.
    """
    output = logits_output(model)
    if keep is not None or coverage is not None:
        check_question(model, keep, coverage)
    return (output,) if model.detector is None else (output, "features")


def logits_output(model: ServedModel) -> str:
    """Output that gives the logits of a classifier or of a multi-label model.

    Raises:
        RequestError: the model gives no classes.
    """
    if model.manifest.task == "embedding":
        raise RequestError(
            "task-not-supported",
            f"model {model.name!r} gives embeddings, not classes; ask for its features.",
        )
    return OUTPUTS["classification"]


def classification(
    model: ServedModel,
    prepared: Sequence[Prepared],
    outputs: Outputs,
    top: int,
    keep: float | None = None,
    coverage: float | None = None,
) -> Classification:
    """The answer of `classify` to pictures that were prepared, with these outputs.

    Args:
        model: a classifier or a multi-label model.
        prepared: N pictures.
        outputs: those that `classify_outputs` names.
        top: number of classes wanted.
        keep: share of known pictures to keep; None for the default.
        coverage: frequency with which sets of classes shall hold the truth; None for no sets.
    """
    manifest = model.manifest
    logits = outputs[OUTPUTS["classification"]]
    shares = probabilities(logits, manifest.temperature, manifest.task)  # (N, C)
    order = np.argsort(-shares, axis=1, kind="stable")
    if manifest.task == "multi-label":
        predictions = [
            _labels(manifest, row, ranks, top) for row, ranks in zip(shares, order, strict=True)
        ]
    else:
        best = order[:, :top]
        rows = shares[np.arange(len(shares))[:, None], best].tolist()
        names = manifest.classes
        predictions = [
            tuple(
                Prediction(label=names[i], probability=p) for i, p in zip(indices, row, strict=True)
            )
            for indices, row in zip(best.tolist(), rows, strict=True)
        ]
    worth = None if model.detector is None else verdicts(model, keep)
    judged: Sequence[tuple[Verdict | None, float | None]] = [(None, None)] * len(logits)
    if worth is not None and worth.offered:
        judged = judge(model, outputs["features"], logits, keep)
    sets = [None] * len(logits) if coverage is None else class_sets(model, logits, coverage)
    return Classification(
        task="multi-label" if manifest.task == "multi-label" else None,
        model=model.stamp,
        provider=model.runtime.provider,
        verdicts=worth,
        pictures=tuple(
            _classified(picture, top_classes, verdict, classes)
            for picture, top_classes, verdict, classes in zip(
                prepared, predictions, judged, sets, strict=True
            )
        ),
    )


def features(model: ServedModel, prepared: Sequence[Prepared]) -> npt.NDArray[np.float32]:
    """What the head sees: the output `features`, or the embedding of an embedding model.

    Args:
        model: one that gives either.
        prepared: pictures, of any mix of sizes.

    Returns:
        float32 N x D.

    Raises:
        RequestError: the graph has no such output.
    """
    output = features_output(model)
    return model.runtime.run([p.picture for p in prepared], [output], prepared=True)[output]


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


def _labels(
    manifest: Manifest, shares: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], top: int
) -> tuple[Prediction, ...]:
    """Return the `top` most probable classes and all others that are present, in order.

    Args:
        manifest: that of a multi-label model.
        shares: C probabilities of one picture.
        ranks: C class indices, the most probable first.
        top: number of classes wanted, whether they are present or not.
    """
    present = shares >= np.array(manifest.thresholds)
    return tuple(
        Prediction(
            label=manifest.classes[i],
            probability=float(shares[i]),
            threshold=manifest.thresholds[i],
            present=bool(present[i]),
        )
        for rank, i in enumerate(ranks.tolist())
        if rank < top or present[i]
    )


def _classified(
    prepared: Prepared,
    top: tuple[Prediction, ...],
    judged: tuple[Verdict | None, float | None],
    class_set: ClassSet | None,
) -> ClassifiedPicture:
    width, height = prepared.size
    shown = prepared.picture.shape
    return ClassifiedPicture(
        size=Size(width=width, height=height),
        shown=Size(width=shown[1], height=shown[0]),
        treatment=prepared.treatment,
        top=top,
        verdict=judged[0],
        score=judged[1],
        class_set=class_set,
    )
