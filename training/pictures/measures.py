"""Figures of a classifier with their uncertainty, from probabilities and labels alone."""

import math
from dataclasses import dataclass

import numpy as np

from artifacts.calibration import BINS, bins_of, calibration_error
from artifacts.intervals import interval
from training.pictures.results import Floats, Ints, Results, Rows

DRAWS = 1000
"""Number of bootstrap samples."""
SIZE_BINS = 4


@dataclass(frozen=True)
class Estimate:
    """A figure in 0..1 with its 95 % interval; `low` equals `high` if there is no interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Share:
    """A share of pictures, as a count of a total."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share in 0..1; NaN if the total is 0."""
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> Estimate:
        """The share with its 95 % interval (Wilson 1927); 0..1 if the total is 0."""
        low, high = interval(self.count, self.total)
        return Estimate(self.value, low, high)


@dataclass(frozen=True)
class ClassFigures:
    """What was measured about one class."""

    name: str
    training: int
    """Number of training pictures."""
    recall: Share
    """Of the pictures of the class, those that were assigned to it."""
    precision: Share
    """Of the pictures that were assigned to the class, those that belong to it."""
    average_precision: float
    """Area under the curve of precision over recall, 0..1; NaN if a picture has one label."""

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision, 0..1; NaN if the class never occurs."""
        both = self.recall.total + self.precision.total
        return 2 * self.recall.count / both if both else math.nan


@dataclass(frozen=True)
class Reliability:
    """How often the model is right, by the probability that it states."""

    bins: tuple[tuple[float, Share], ...]
    """Mean probability and share of right answers of each bin that is not empty."""
    counts: tuple[int, ...]
    """Number of answers in each of the `BINS` bins of equal width."""
    ece: float
    """Expected calibration error; see `calibration_error`."""
    by_chance: float
    """Mean error of a perfectly calibrated model with the same probabilities and sample size."""


def decided(results: Results, rows: Rows) -> Ints:
    """Return what the model assigns: N class numbers, or N x C of 0 and 1 if several labels."""
    if results.multilabel:
        chosen: Ints = (rows.probabilities >= np.asarray(results.thresholds)).astype(np.int64)
    else:
        chosen = rows.probabilities.argmax(axis=1).astype(np.int64)
    return chosen


def right(results: Results, rows: Rows) -> Ints:
    """Return N of 1 and 0: whether a picture got exactly its labels."""
    same = decided(results, rows) == rows.labels
    exact: Ints = same.reshape(len(rows), -1).all(axis=1).astype(np.int64)
    return exact


def accuracy(results: Results, rows: Rows) -> Share:
    """Return the share of pictures that got exactly their labels."""
    return Share(int(right(results, rows).sum()), len(rows))


def indicators(labels: Ints, classes: int) -> Ints:
    """Return labels as N x C of 0 and 1."""
    if labels.ndim == 2:  # noqa: PLR2004
        return labels.astype(np.int64)
    return np.eye(classes, dtype=np.int64)[labels]


def class_figures(results: Results, rows: Rows) -> list[ClassFigures]:
    """Measure every class, in the order of `Results.classes`."""
    truth = indicators(rows.labels, len(results.classes))
    found = indicators(decided(results, rows), len(results.classes))
    hits = (truth * found).sum(axis=0)
    precisions = _average_precisions(truth, rows.probabilities) if results.multilabel else None
    return [
        ClassFigures(
            name,
            results.training_counts[i],
            Share(int(hits[i]), int(truth[:, i].sum())),
            Share(int(hits[i]), int(found[:, i].sum())),
            math.nan if precisions is None else float(precisions[i, 0]),
        )
        for i, name in enumerate(results.classes)
    ]


def balanced_accuracy(results: Results, rows: Rows) -> Estimate:
    """Return the mean recall of the classes that have pictures.

    The interval is that of a bootstrap within each class. If every class is recognised completely
    or not at all, all bootstrap samples agree, so that there is no interval.
    """
    recalls = [c.recall for c in class_figures(results, rows) if c.recall.total]
    counts = np.array([r.total for r in recalls])
    shares = np.array([r.value for r in recalls])
    generator = np.random.default_rng(results.seed)
    # resampling the answers of a class, each right or wrong, is drawing from a binomial
    draws = generator.binomial(counts, shares, (DRAWS, len(counts))) / counts
    return _estimate(float(shares.mean()), draws.mean(axis=1))


def mean_average_precision(results: Results, rows: Rows) -> Estimate:
    """Return the mean average precision of the classes that have pictures, for several labels.

    The interval is that of a bootstrap over pictures.
    """
    generator = np.random.default_rng(results.seed)
    size = len(rows)
    weights = generator.multinomial(size, np.full(size, 1 / size), DRAWS // 5)
    truth = indicators(rows.labels, len(results.classes))
    values = _average_precisions(truth, rows.probabilities, weights)
    means = np.nanmean(values[truth.any(axis=0)], axis=0)
    return _estimate(float(means[0]), means[1:])


def confusions(results: Results, rows: Rows) -> Ints:
    """Return the confusion matrix C x C of a model with one label per picture.

    It has the number of pictures by true class (row) and predicted class (column).
    """
    classes = len(results.classes)
    places = rows.labels * classes + decided(results, rows)
    counts: Ints = np.bincount(places, minlength=classes**2).reshape(classes, classes)
    return counts


def reliability(results: Results, rows: Rows) -> Reliability:
    """Measure the calibration.

    With one label per picture, an answer is the predicted class of a picture; with several, an
    answer is that a picture has one class, so that there are N x C of them.
    """
    if results.multilabel:
        confidence, hit = rows.probabilities.ravel(), rows.labels.ravel()
    else:
        confidence, hit = rows.probabilities.max(axis=1), right(results, rows)
    bins = bins_of(confidence)
    counts = np.bincount(bins, minlength=BINS)
    sums = np.bincount(bins, confidence, BINS)
    hits = np.bincount(bins, hit, BINS).astype(int)
    generator = np.random.default_rng(results.seed)
    chance = [
        calibration_error(
            sums, np.bincount(bins, generator.random(len(bins)) < confidence, BINS), len(bins)
        )
        for _ in range(DRAWS // 10)
    ]
    return Reliability(
        tuple((float(sums[i] / n), Share(int(hits[i]), int(n))) for i, n in enumerate(counts) if n),
        tuple(int(n) for n in counts),
        calibration_error(sums, hits, len(bins)),
        float(np.mean(chance)),
    )


def by_size(results: Results, rows: Rows) -> list[tuple[float, float, Share]]:
    """Measure the accuracy in quarters of the pictures, from the smallest to the largest.

    The size of a picture is the side of the square with its area, sqrt(width x height).

    Returns:
        Smallest size, largest size (pixels) and accuracy of each bin. There are fewer than
        `SIZE_BINS` bins if many pictures have the same size.
    """
    sides = np.sqrt(rows.sizes.prod(axis=1, dtype=np.float64))
    edges = np.unique(np.quantile(sides, np.arange(1, SIZE_BINS) / SIZE_BINS))
    bins, exact = np.searchsorted(edges, sides), right(results, rows)
    return [
        (float(sides[own].min()), float(sides[own].max()), Share(int(exact[own].sum()), own.sum()))
        for own in (bins == i for i in np.unique(bins))
    ]


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value, float(low), float(high))


def _average_precisions(truth: Ints, probabilities: Floats, weights: Ints | None = None) -> Floats:
    """Return the average precision of each class: C x (1 + number of samples).

    Pictures with equal probabilities share one rank, as in `artifacts.multi_label`.

    Args:
        truth: N x C of 0 and 1.
        probabilities: N x C.
        weights: samples x N, how often each picture occurs in a bootstrap sample; the pictures
            themselves always come first.
    """
    once = np.ones((1, len(truth)), np.int64)
    weights = once if weights is None else np.concatenate([once, weights])
    found = np.full((truth.shape[1], len(weights)), math.nan)
    for i in range(truth.shape[1]):
        order = np.argsort(-probabilities[:, i], kind="stable")
        own = weights[:, order]
        hits = own * truth[order, i]
        ranked = -probabilities[order, i]
        last = np.searchsorted(ranked, ranked, side="right") - 1  # of the pictures of equal rank
        precision = hits.cumsum(axis=1)[:, last] / np.maximum(own.cumsum(axis=1)[:, last], 1)
        totals = hits.sum(axis=1)
        found[i] = np.where(
            totals > 0, (hits * precision).sum(axis=1) / np.maximum(totals, 1), math.nan
        )
    return found
