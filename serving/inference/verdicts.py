"""Whether a model knows what a picture shows, and the set of classes that holds the truth."""

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from artifacts.intervals import interval
from artifacts.known.record import KEEP
from artifacts.known.sets import log_odds, threshold
from serving.inference.served_model import ServedModel
from serving.problems import RequestError
from serving.schemas import ClassSet, Verdict, Verdicts, Worth

Rows = npt.NDArray[np.float32]
_described: WeakKeyDictionary[ServedModel, Verdicts] = WeakKeyDictionary()
"""What is said with every answer is made once for each model."""


def check_question(model: ServedModel, keep: float | None, coverage: float | None) -> None:
    """Refuse a request that names a share of known pictures or a coverage that cannot be had.

    Args:
        model: the model that is asked.
        keep: share of known pictures to keep; None for the model's default.
        coverage: frequency with which the sets shall hold the truth; None for no sets.

    Raises:
        RequestError: the model gives no verdicts or no sets, or the number is not between 0 and 1.
    """
    manifest = model.manifest
    for name, value in (("keep", keep), ("coverage", coverage)):
        if value is None:
            continue
        if not 0 < value < 1:
            raise RequestError(
                "bad-parameter", f"{name} = {value:g}: a number between 0 and 1 is expected."
            )
        if manifest.task != "classification":
            raise RequestError(
                "task-not-supported",
                f"{name} is only for models whose pictures have exactly one class; the task of "
                f"{model.name!r} is {manifest.task}.",
            )
    if coverage is not None and manifest.sets is None:
        raise RequestError("not-calibrated", f"{model.name!r} has no sets of classes; {_REMEDY}")
    if keep is not None and (model.detector is None or not verdicts(model, keep).offered):
        raise RequestError("not-calibrated", f"{model.name!r} gives no verdicts; {_REMEDY}")


_REMEDY = "leave the parameter out, or calibrate the model with `vitrine train known NAME`."


def verdicts(model: ServedModel, keep: float | None = None) -> Verdicts:
    """Return what verdicts of a model that has a detector are worth at a share that is kept."""
    if keep is None or keep == KEEP:
        if model not in _described:
            _described[model] = _verdicts(model, KEEP)
        return _described[model]
    return _verdicts(model, keep)


def judge(
    model: ServedModel, features: Rows, logits: Rows, keep: float | None
) -> list[tuple[Verdict, float]]:
    """Return the verdict about each of N pictures, and its score.

    Args:
        model: one with a detector that offers verdicts.
        features: N x D.
        logits: N x C.
        keep: share of known pictures to keep; None for the default.
    """
    assert model.detector is not None  # noqa: S101 - the caller has checked
    least = 1 - (KEEP if keep is None else keep)
    scores = model.detector.scores(features, logits).tolist()
    return [("known" if score >= least else "cannot_say", score) for score in scores]


def class_sets(model: ServedModel, logits: Rows, coverage: float) -> list[ClassSet]:
    """Return the set of classes of each of N pictures with these logits (N x C), see `sets`."""
    manifest = model.manifest
    assert manifest.sets is not None  # noqa: S101 - the caller has checked
    odds = log_odds(logits, manifest.temperature)
    inside = odds >= threshold(manifest.sets, coverage)
    order = np.argsort(-odds, axis=1, kind="stable")
    return [
        ClassSet(coverage=coverage, classes=tuple(manifest.classes[i] for i in ranks if members[i]))
        for ranks, members in zip(order.tolist(), inside.tolist(), strict=True)
    ]


def _verdicts(model: ServedModel, keep: float) -> Verdicts:
    record, detector = model.manifest.known, model.detector
    assert record is not None  # noqa: S101 - the caller has checked
    assert detector is not None  # noqa: S101 - the caller has checked
    if not record.offered:
        reason = "this model tells pictures of other things too rarely from those that it knows"
        return Verdicts(offered=False, reason=reason)
    known = record.kept[0]
    unseen = [rate for rate in record.refused if not rate.declared]
    others = unseen or record.refused
    kept = 1 - detector.share_below(detector.kept, keep)
    refused = detector.share_below(detector.refused, keep)
    return Verdicts(
        offered=True,
        method=record.method,
        keep=keep,
        threshold=round(1 - keep, 6),
        kept=_worth(kept, known.pictures, [known.data]),
        refused=_worth(refused, sum(r.pictures for r in others), [r.data for r in others]),
        seen=not unseen,
    )


def _worth(share: float, pictures: int, data: list[str]) -> Worth:
    low, high = interval(share * pictures, pictures)
    return Worth(
        share=round(share, 4),
        low=round(low, 4),
        high=round(high, 4),
        pictures=pictures,
        data=tuple(data),
    )
