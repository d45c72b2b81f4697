"""The rows of `vitrine classify`: one for each picture, with its most probable classes."""

from collections.abc import Sequence
from typing import Any

from serving.client.predictor import Predictor
from serving.commands.table import Row
from serving.schemas import ModelInfo, Prediction, RefusedPicture


class ClassRows:
    """Asks a classifier about pictures, and makes a row of the answer to each.

    Args:
        predictor: a client of a server, or the artifacts in this process.
        info: the classifier.
        top: number of classes wanted; a model of fewer classes gives all it has.
        keep: see `Predictor.classify`.
        coverage: see `Predictor.classify`.
    """

    def __init__(
        self,
        predictor: Predictor,
        info: ModelInfo,
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> None:
        self._predictor, self._info = predictor, info
        self._top, self._keep, self._coverage = min(top, len(info.classes)), keep, coverage
        self._labels = ["labels"] if info.task == "multi-label" else []
        known = info.known is not None and info.known.offered
        self._judged = ["verdict", "score"] if known else []
        self._sets = [] if coverage is None else ["set"]

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order: `path` first, and last `problem`, why it was refused."""
        ranks = range(1, self._top + 1)
        classes = [column for n in ranks for column in (f"class_{n}", f"probability_{n}")]
        picture = ["path", "width", "height", *self._labels, *self._judged]
        return [*picture, *classes, *self._sets, "model", "hash", "problem"]

    def __call__(self, contents: Sequence[bytes]) -> list[Row]:
        """Return a row for each picture, in order, without `path`, or with `problem` only.

        Args:
            contents: encoded pictures, at least one.
        """
        name, top = self._info.name, self._top
        answer = self._predictor.classify_each(name, contents, top, self._keep, self._coverage)
        stamp = {"model": answer.model.name, "hash": answer.model.hash}
        return [
            {"problem": picture.problem.reason}
            if isinstance(picture, RefusedPicture)
            else {"width": picture.size.width, "height": picture.size.height}
            | {name: "|".join(p.label for p in picture.top if p.present) for name in self._labels}
            | {name: _rounded(getattr(picture, name)) for name in self._judged}
            | {n: "|".join(picture.class_set.classes) for n in self._sets if picture.class_set}
            | _ranked(picture.top[:top])
            | stamp
            for picture in answer.pictures
        ]


def _ranked(top: Sequence[Prediction]) -> Row:
    """Return the columns of the most probable classes."""
    row: Row = {f"class_{n}": p.label for n, p in enumerate(top, 1)}
    return row | {f"probability_{n}": _rounded(p.probability) for n, p in enumerate(top, 1)}


def _rounded(value: Any) -> Any:
    """Round a float to 6 digits; those after them depend on which pictures share a batch."""
    return round(value, 6) if isinstance(value, float) else value
