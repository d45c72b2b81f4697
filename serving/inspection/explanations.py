"""Explains an answer: which parts of a picture speak for a class, and which against it.

There is no HTTP here: the server's handlers and the in-process client both call these functions.
"""

from dataclasses import dataclass

from artifacts import probabilities
from artifacts.contributions import Grid
from artifacts.pictures import Picture
from artifacts.preprocessing import Prepared, frame
from serving.inference.results import logits_output
from serving.inference.served_model import ServedModel
from serving.inspection.explainers import LOGITS, Explainer, Rows, comparable, open_explainer
from serving.inspection.overlay import draw_overlay
from serving.inspection.per_model import PerModel
from serving.pictures.limits import MAX_REQUEST_PIXELS
from serving.problems import RequestError
from serving.schemas import Explanation, Rectangle, Size

MAX_LISTED = 10
"""Maximum number of classes that an error message lists."""

explainer_of = PerModel(open_explainer)
"""What explains the answers of a served model."""


@dataclass(frozen=True)
class Question:
    """A picture whose answer is explained, and the pictures that the model is run on for that."""

    model: ServedModel
    explainer: Explainer
    label: str | None
    """Name of the class; None for the most probable one."""
    picture: Picture
    """uint8 H x W x 3, as sent, upright."""
    prepared: Prepared
    views: list[Picture]
    """See `Explainer.views`."""


def check_class(model: ServedModel, label: str | None) -> None:
    """Check that a model has a class of this name; None stands for the most probable one.

    Raises:
        RequestError: it has none, or gives no classes at all.
    """
    logits_output(model)
    classes = model.manifest.classes
    if label is not None and label not in classes:
        listed = ", ".join(classes[:MAX_LISTED]) + (", …" if len(classes) > MAX_LISTED else "")
        raise RequestError(
            "bad-parameter",
            f"class = {label!r}: model {model.name!r} has no such class; its {len(classes)} "
            f"classes are listed at /v1/models/{model.name}: {listed}.",
        )


def check_single(pictures: int) -> None:
    """Check that there is exactly one picture.

    Raises:
        RequestError: there are none or several.
    """
    if pictures != 1:
        raise RequestError(
            "bad-parameter",
            f"{pictures} pictures were given; they are explained one at a time: send one.",
        )


def further_pixels(model: ServedModel, explainer: Explainer, pixels: tuple[int, int]) -> list[int]:
    """Return the pixels of each picture that is run in addition to the one that is explained.

    Args:
        model: a classifier or a multi-label model.
        explainer: of the model.
        pixels: width and height of the picture as sent.

    Raises:
        RequestError: they are too many together.
    """
    width, height = model.manifest.input.target(*pixels)
    passes = explainer.passes(width, height)
    if passes > 1 and passes * width * height > MAX_REQUEST_PIXELS:
        raise RequestError(
            "too-many-pixels",
            f"the answers of {model.name!r} are explained by hiding parts of the picture, which "
            f"runs it {passes} times at {width}x{height}; {MAX_REQUEST_PIXELS // 1_000_000} "
            f"megapixels together are accepted: send a picture of at most "
            f"{MAX_REQUEST_PIXELS / passes / 1e6:.2f} megapixels.",
            0,
        )
    return [width * height] * (passes - 1)


def ask(
    model: ServedModel, explainer: Explainer, picture: Picture, label: str | None = None
) -> Question:
    """Prepare a picture and what has to be run to explain the answer to it.

    Args:
        model: a classifier or a multi-label model.
        explainer: of the model.
        picture: uint8 H x W x 3.
        label: name of a class; the most probable one by default.
    """
    prepared = explainer.runtime.prepare_and_tell(picture)
    return Question(model, explainer, label, picture, prepared, explainer.views(prepared.picture))


def explained(question: Question, rows: Rows) -> Explanation:
    """Return the explanation from the outputs for the views of a question."""
    model, explainer = question.model, question.explainer
    manifest = model.manifest
    logits = rows[LOGITS][:1]  # (1, K)
    shares = probabilities(logits, manifest.temperature, manifest.task)[0]
    label = question.label
    number = int(shares.argmax()) if label is None else manifest.classes.index(label)
    grid, bias = explainer.read(rows, number, question.prepared.picture)
    width, height = question.prepared.size
    shown = question.prepared.picture.shape
    left, top, right, bottom = frame(question.prepared, manifest.input)
    return Explanation(
        model=model.stamp,
        provider=explainer.runtime.provider,
        method=explainer.method,
        label=manifest.classes[number],
        probability=float(shares[number]),
        logit=float(comparable(logits, manifest.task)[0, number]),
        bias=bias,
        size=Size(width=width, height=height),
        shown=Size(width=shown[1], height=shown[0]),
        treatment=question.prepared.treatment,
        seen=Rectangle(
            left=max(0.0, left),
            top=max(0.0, top),
            right=min(float(width), right),
            bottom=min(float(height), bottom),
        ),
        frame=Rectangle(left=left, top=top, right=right, bottom=bottom),
        map=_rows(grid),
    )


def explain(model: ServedModel, picture: Picture, label: str | None = None) -> Explanation:
    """Explain an answer in this process; for the arguments see `ask`.

    Raises:
        RequestError: the model gives no classes, or not this one; or the picture is too large to be
            explained by this model.
    """
    check_class(model, label)
    explainer = explainer_of(model)
    further_pixels(model, explainer, (picture.shape[1], picture.shape[0]))
    question = ask(model, explainer, picture, label)
    rows = explainer.runtime.run(question.views, explainer.names, prepared=True)
    return explained(question, rows)


def overlay(picture: Picture, explanation: Explanation) -> bytes:
    """Draw an explanation over its picture; see `draw_overlay`."""
    return draw_overlay(picture, explanation.grid, explanation.frame.corners)


def _rows(grid: Grid) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in grid.tolist())
