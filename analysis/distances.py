"""How far apart pictures of one class lie, and of two: what a threshold on distance can decide."""

from dataclasses import dataclass
from typing import Any, Literal

import click
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from analysis.answers import Featured, Floats, Ints, features
from analysis.figures import COLOURS, new_figure
from analysis.inputs import UNKNOWN
from analysis.options import Asked, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import DataError

Metric = Literal["euclidean", "cosine"]
MOST_PAIRS = 200_000
"""Pairs of each kind; more are drawn at random."""
RESAMPLES = 200
INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap that bound the interval."""
DET_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Pairs:
    """Distances of pairs of pictures, and the classes they are of."""

    same: Floats
    different: Floats
    same_classes: Ints
    """Class of each pair of one class."""
    different_classes: Ints
    """N x 2: classes of each pair of two."""


@dataclass(frozen=True)
class Trade:
    """Error rates over the threshold; pairs nearer than it are taken for one class."""

    thresholds: Floats
    fmr: Floats
    """False match rate (ISO/IEC 19795-1): share of different pairs below the threshold."""
    fnmr: Floats
    """False non-match rate: share of same pairs not below it."""

    @property
    def eer(self) -> float:
        """Equal error rate: where both are alike, their mean at the nearest threshold."""
        place = int(np.abs(self.fmr - self.fnmr).argmin())
        return float(self.fmr[place] + self.fnmr[place]) / 2

    @property
    def eer_threshold(self) -> float:
        """Threshold at the equal error rate."""
        return float(self.thresholds[np.abs(self.fmr - self.fnmr).argmin()])

    def fnmr_at(self, fmr: float) -> float:
        """False non-match rate at the greatest threshold with at most this false match rate."""
        allowed = np.flatnonzero(self.fmr <= fmr)
        return float(self.fnmr[allowed[-1]])


def draw_pairs(found: Featured, labels: Ints, metric: Metric, seed: int) -> Pairs:
    """Distances of all pairs of one class and of two, at most `MOST_PAIRS` of each, by the seed.

    Args:
        found: N vectors.
        labels: N class numbers.
        metric: euclidean; or cosine, 1 - cos of the angle, 0..2.
        seed: of the draw.

    Raises:
        DataError: no two pictures of one class, or only one class.
    """
    vectors = found.vectors.astype(np.float64)
    if metric == "cosine":
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    random = np.random.default_rng(seed)
    first, second = _same_pairs(labels, random)
    if not len(first):
        raise DataError("no class has two pictures: distances within a class need that.")
    same = _distances(vectors, first, second, metric)
    left, right = _different_pairs(labels, random)
    if not len(left):
        raise DataError("all pictures are of one class: distances between classes need two.")
    return Pairs(
        same=same,
        different=_distances(vectors, left, right, metric),
        same_classes=labels[first],
        different_classes=np.stack([labels[left], labels[right]], axis=1),
    )


def trade(same: Floats, different: Floats) -> Trade:
    """Error rates at every distance that occurs, from no match at all to all."""
    thresholds = np.concatenate([[0.0], np.unique(np.concatenate([same, different])), [np.inf]])
    below_different = np.searchsorted(np.sort(different), thresholds, side="left")
    below_same = np.searchsorted(np.sort(same), thresholds, side="left")
    return Trade(thresholds, below_different / len(different), 1 - below_same / len(same))


def eer_interval(pairs: Pairs, seed: int) -> tuple[float, float]:
    """95 % interval of the equal error rate, by a bootstrap over classes.

    Pairs of one class (or person) are not independent, so whole classes are drawn: a pair counts as
    often as its class was drawn, one of two classes as often as both together (the product).
    """
    random = np.random.default_rng(seed)
    classes = int(max(pairs.same_classes.max(), pairs.different_classes.max())) + 1
    present = np.unique(np.concatenate([pairs.same_classes, pairs.different_classes.ravel()]))
    rates = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(random.choice(present, len(present)), minlength=classes)
        same = drawn[pairs.same_classes]
        different = drawn[pairs.different_classes].prod(axis=1)
        if same.any() and different.any():
            rates.append(trade(np.repeat(pairs.same, same), np.repeat(pairs.different, different)))
    low, high = np.percentile([each.eer for each in rates], INTERVAL)
    return float(low), float(high)


def findings(pairs: Pairs, rates: Trade, interval: tuple[float, float]) -> list[str]:
    """Medians, equal error rate, and misses at two false match rates, in words."""
    return [
        f"median distance {np.median(pairs.same):.4f} of {len(pairs.same):,} pairs of one class, "
        f"{np.median(pairs.different):.4f} of {len(pairs.different):,} pairs of two",
        f"equal error rate {rates.eer:.4f} (95 % interval {interval[0]:.4f} to {interval[1]:.4f}, "
        f"bootstrap by class) at distance {rates.eer_threshold:.4f}",
        *(
            f"false non-match rate {rates.fnmr_at(fmr):.4f} at false match rate {fmr:g}"
            for fmr in (1e-2, 1e-3)
        ),
    ]


def rows(rates: Trade, *, synthetic: bool) -> list[dict[str, Any]]:
    """The table: error rates at up to 1,001 thresholds, evenly spread over the pairs."""
    places = np.unique(np.linspace(0, len(rates.thresholds) - 2, 1001).astype(int))
    return [
        {
            "threshold": rates.thresholds[i],
            "fmr": rates.fmr[i],
            "fnmr": rates.fnmr[i],
            "synthetic": synthetic,
        }
        for i in places
    ]


def draw(pairs: Pairs, rates: Trade, heading: str, footer: str) -> Figure:
    """Box plot, histogram, cumulative curves, and error rates over each other (DET)."""
    figure = new_figure(heading, footer, width=11, height=8)
    (box, histogram), (curves, det) = figure.subplots(2, 2)
    both = {"one class": pairs.same, "two classes": pairs.different}
    drawn = box.boxplot(list(both.values()), tick_labels=list(both), showfliers=False)
    for line in drawn["medians"]:
        line.set_color("black")
    box.set(ylabel="distance", title="quartiles; whiskers at 1.5 of their range")
    edges = np.linspace(0, max(float(v.max()) for v in both.values()), 61).tolist()
    for colour, (name, values) in zip(COLOURS, both.items(), strict=False):
        histogram.hist(values, edges, density=True, alpha=0.6, color=colour, label=name)
        curves.ecdf(values, color=colour, label=name)
    for axes in (histogram, curves):
        axes.axvline(rates.eer_threshold, color="#555555", linestyle="--", label="equal error")
        axes.set_xlabel("distance")
        axes.legend(frameon=False, fontsize=8)
    histogram.set(ylabel="density", title="distances")
    curves.set(ylabel="share of pairs nearer", title="cumulative")
    inside = (rates.fmr > 0) & (rates.fmr < 1) & (rates.fnmr > 0) & (rates.fnmr < 1)
    det.plot(norm.ppf(rates.fmr[inside]), norm.ppf(rates.fnmr[inside]), color=COLOURS[0])
    ticks = norm.ppf(DET_TICKS)
    det.set_xticks(ticks, [f"{t:g}" for t in DET_TICKS])
    det.set_yticks(ticks, [f"{t:g}" for t in DET_TICKS])
    det.plot(ticks, ticks, color="#999999", linestyle=":")
    det.set(xlabel="false match rate", ylabel="false non-match rate")
    det.set_title(f"error rates, normal deviates (equal: {rates.eer:.4f})")
    return figure


def _same_pairs(labels: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Places of pairs of one class: all of them, or a draw."""
    pairs: list[Ints] = []
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        if len(members) > 1:
            a, b = np.triu_indices(len(members), 1)
            pairs.append(np.stack([members[a], members[b]]))
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    joined = np.concatenate(pairs, axis=1)
    chosen = random.permutation(joined.shape[1])[:MOST_PAIRS]
    return joined[0, chosen], joined[1, chosen]


def _different_pairs(labels: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Places of pairs of two classes: all of them where few, else a draw."""
    count = len(labels)
    if count * (count - 1) // 2 <= MOST_PAIRS:
        a, b = np.triu_indices(count, 1)
    else:
        a, b = random.integers(0, count, (2, 2 * MOST_PAIRS))
    differ = labels[a] != labels[b]
    return a[differ][:MOST_PAIRS], b[differ][:MOST_PAIRS]


def _distances(vectors: Floats, first: Ints, second: Ints, metric: Metric) -> Floats:
    if metric == "cosine":
        cosines: Floats = 1 - np.einsum("nd,nd->n", vectors[first], vectors[second])
        return np.maximum(cosines, 0.0)
    lengths: Floats = np.linalg.norm(vectors[first] - vectors[second], axis=1)
    return lengths


@click.command("distances")
@model_option
@common_options
@click.option(
    "--metric",
    type=click.Choice(["euclidean", "cosine"]),
    default="euclidean",
    show_default=True,
    help="Distance of two feature vectors.",
)
@click.option("--seed", default=0, show_default=True, help="Of the draw of pairs.")
def command(
    model: str,
    asked: Asked,
    metric: Metric,
    seed: int,
) -> None:
    """Distances within a class and between classes.

    Writes distances.png (box plot, histogram, cumulative curves, DET), distances.csv (error rates
    over the threshold) and distances.json (equal error rate with its interval, and more).
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    pictures = asked.pictures()
    if (pictures.labels == UNKNOWN).any():
        raise DataError(f"{pictures.source}: distances need classes: a folder of pictures each.")
    found = features(predictor, info, pictures)
    report_skipped(pictures)
    pairs = draw_pairs(found, pictures.labels[found.indices], metric, seed)
    rates = trade(pairs.same, pairs.different)
    heading = title(f"Distances ({metric}) of features", [info], pictures)
    write_report(
        asked.folder("distances", (model,)),
        "distances",
        {"distances": rows(rates, synthetic=info.synthetic or pictures.synthetic)},
        {"distances": draw(pairs, rates, heading, this_command())},
        record([info], pictures, {"metric": metric, "seed": seed, "resamples": RESAMPLES}),
        findings(pairs, rates, eer_interval(pairs, seed)),
    )
