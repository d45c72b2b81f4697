"""Chooses and fits a detector of known pictures, and measures what its verdicts are worth.

The space is that of training pictures. The method is chosen by the area under the ROC curve between
validation pictures, with copies of them that were resized and compressed, and declared outliers.
`combined` is fitted to the outliers, so areas count pictures that it was not fitted on. How it does
on a kind of outliers that it was fitted without is recorded as well. Test pictures and undeclared
outliers only serve to measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from artifacts.errors import DataError
from artifacts.known.detector import (
    Detector,
    Single,
    directions,
    summary,
)
from artifacts.known.outliers import GENERATED, Images, Pictures, copies
from artifacts.known.record import KEEP, KnownRecord, Method, Rate, Refused
from artifacts.known.regression import area, logistic, space_of, total_whitening
from artifacts.runtime import Runtime, in_chunks

BANK = 1000
"""Number of training pictures among which `neighbours` searches."""
STEPS = 1001
"""Number of quantiles that are stored."""
COPIES = 400
"""Maximum number of validation pictures of which copies are made."""
LEAST = 40
"""Minimum number of validation pictures for a threshold."""
EMPTY = (f"{GENERATED}:plain", f"{GENERATED}:noise")
EMPTY_WEIGHT = 8.0
"""Weight of pictures that show nothing, which must always be refused; of other outliers 1."""
MIN_REFUSED = 0.5
"""Minimum share of the outliers of unseen kinds that must be refused for verdicts to be offered."""

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Seen:
    """What a graph gives for N pictures."""

    name: str
    features: Single
    logits: Single

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.features)

    def take(self, chosen: slice) -> "Seen":
        """Return some of the pictures."""
        return Seen(self.name, self.features[chosen], self.logits[chosen])


def look(runtime: Runtime, name: str, images: Images) -> Seen:
    """Run a graph that gives logits and features."""
    parts = [runtime.run(chunk, ("logits", "features")) for chunk in in_chunks(images)]
    features, logits = (np.concatenate([p[n] for p in parts]) for n in ("features", "logits"))
    return Seen(name, features, logits)


def look_all(runtime: Runtime, pictures: Sequence[Pictures]) -> list[Seen]:
    """Run a graph on several sets of pictures."""
    return [look(runtime, each.name, each.images) for each in pictures]


def look_at_copies(runtime: Runtime, name: str, images: Images) -> list[Seen]:
    """Run a graph on resized and compressed copies of pictures."""
    return [look(runtime, name, kind) for kind in copies(images, COPIES)]


@dataclass(frozen=True)
class Material:
    """What a detector is fitted and measured on."""

    train: Seen
    labels: Labels
    """Class indices of the training pictures."""
    validation: Seen
    copies: Sequence[Seen]
    """Of validation pictures."""
    declared: Sequence[Seen]
    """Outliers, of which every other picture is only measured on."""
    unseen: Sequence[Seen] = ()
    """Outliers of other kinds, for measuring."""
    known: Sequence[Seen] = ()
    """Known pictures that nothing was chosen on, for measuring; the test pictures first."""


def fit(material: Material) -> tuple[KnownRecord, Detector]:
    """Choose a method, fit it and measure it.

    Raises:
        DataError: there are too few validation pictures, or no outliers.
    """
    if len(material.validation) < LEAST:
        raise DataError(
            f"{len(material.validation)} validation pictures are too few to tell known pictures "
            f"from others; at least {LEAST} are needed."
        )
    if not material.declared:
        raise DataError("no outliers were given; name data sets of pictures of other things.")
    parts = _halves(material)
    detectors = _candidates(parts)
    areas = {m: round(_area(d, parts.measured), 4) for m, d in detectors.items()}
    method = max(areas, key=areas.__getitem__)
    chosen = _without_unused(detectors[method])
    validation = parts.measured.validation
    ranked = replace(chosen, known=_quantiles(chosen.raw(validation.features, validation.logits)))
    rates = [_refused(ranked, seen, parts) for seen in parts.measured.declared]
    rates += [_rate(ranked, seen, declared=False) for seen in material.unseen]
    known = material.known or [validation]
    others = material.unseen or parts.measured.declared
    finished = replace(
        ranked,
        kept=_quantiles(_scores(ranked, known[0])),
        refused=_quantiles(np.concatenate([_scores(ranked, seen) for seen in others])),
    )
    kept = [
        Rate.of(s.name, float((_scores(ranked, s) >= 1 - KEEP).mean()), len(s))
        for s in (*known, *_joined(parts.measured.copies))
    ]
    unseen = [r.share for r in rates if not r.declared] or [
        r.share if r.left_out is None else r.left_out for r in rates
    ]
    record = KnownRecord(
        method=method,
        offered=float(np.mean(unseen)) >= MIN_REFUSED,
        threshold=round(1 - KEEP, 6),
        fitted_on=f"{len(material.train):,} pictures of {material.train.name}",
        threshold_on=f"{len(validation):,} pictures of {validation.name}",
        areas=areas,
        kept=tuple(kept),
        refused=tuple(rates),
    )
    return record, finished


@dataclass(frozen=True)
class _Parts:
    """The material in two halves: every other validation picture, copy and declared outlier."""

    fitted: Material
    measured: Material


def _halves(material: Material) -> _Parts:
    first, second = (
        replace(
            material,
            validation=material.validation.take(half),
            copies=[seen.take(half) for seen in material.copies],
            declared=[seen.take(half) for seen in material.declared],
        )
        for half in (slice(0, None, 2), slice(1, None, 2))
    )
    return _Parts(first, second)


def _candidates(parts: _Parts) -> dict[Method, Detector]:
    """Return a detector of each method, without ranks."""
    train = parts.fitted.train
    space = space_of(train.features, parts.fitted.labels)
    z = space.z(train.features)
    none = np.empty(0, np.float32)
    bank = directions(z[np.linspace(0, len(z) - 1, min(BANK, len(z))).astype(int)])
    base = Detector("", space, total_whitening(z), bank, none, none, none, none)
    found = {m: replace(base, method=m) for m in cast("tuple[Method, ...]", get_args(Method))}
    weights = _weights(base, parts.fitted)
    found["combined"] = replace(found["combined"], weights=weights)
    return found


def _without_unused(detector: Detector) -> Detector:
    """Return the detector without the arrays that only other methods need."""
    none = np.empty(0, np.float32)
    bank, total, weights = (
        array if detector.method == method else none
        for method, array in (
            ("neighbours", detector.bank),
            ("relative-mahalanobis", detector.total),
            ("combined", detector.weights),
        )
    )
    return replace(detector, bank=bank, total=total, weights=weights)


def _weights(base: Detector, material: Material, without: str | None = None) -> Single:
    """Fit `combined`. The validation pictures count as much as all copies of them together.

    Args:
        base: has the space.
        material: what it is fitted on.
        without: name of declared outliers to leave out.
    """

    def rows(seen: Seen) -> Single:
        return summary(base.space, seen.features, seen.logits)

    groups = [(rows(seen), True, 1.0) for seen in material.copies]
    groups.append((rows(material.validation), True, max(1.0, len(groups))))
    others = [seen for seen in material.declared if seen.name != without]
    groups += [(rows(s), False, EMPTY_WEIGHT if s.name in EMPTY else 1.0) for s in others]
    return logistic(groups)


def _area(detector: Detector, material: Material) -> float:
    """Return the mean over copies and declared outliers of the area under the ROC curve."""
    known, others = (
        [detector.raw(seen.features, seen.logits) for seen in group]
        for group in ((material.validation, *material.copies), material.declared)
    )
    return float(np.mean([area(scores, other) for scores in known for other in others]))


def _refused(detector: Detector, outliers: Seen, parts: _Parts) -> Refused:
    """Return the rate of declared outliers, and that of a detector fitted without their kind."""
    rate = _rate(detector, outliers, declared=True)
    if detector.method != "combined" or len(parts.fitted.declared) == 1:
        return rate
    weights = _weights(detector, parts.fitted, without=outliers.name)
    judge = replace(detector, weights=weights)
    known, others = (judge.raw(s.features, s.logits) for s in (parts.measured.validation, outliers))
    left_out = float((others < np.quantile(known, 1 - KEEP)).mean())
    return rate.model_copy(update={"left_out": round(left_out, 4)})


def _rate(detector: Detector, outliers: Seen, *, declared: bool) -> Refused:
    share = float((_scores(detector, outliers) < 1 - KEEP).mean())
    rate = Rate.of(outliers.name, share, len(outliers))
    return Refused(**rate.model_dump(), declared=declared)


def _joined(kinds: Sequence[Seen]) -> list[Seen]:
    """Return the copies of all kinds together."""
    if not kinds:
        return []
    features, logits = ([getattr(k, name) for k in kinds] for name in ("features", "logits"))
    return [Seen(kinds[0].name, np.concatenate(features), np.concatenate(logits))]


def _scores(detector: Detector, seen: Seen) -> Floats:
    return detector.scores(seen.features, seen.logits)


def _quantiles(values: Floats) -> Single:
    found: Single = np.quantile(values, np.linspace(0, 1, STEPS)).astype(np.float32)
    return found
