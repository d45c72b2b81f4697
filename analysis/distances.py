"""Distances of features within and between classes, and how well a threshold separates them."""

from typing import Any, Literal

import click
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from analysis.answers import FeatureVectors, Ints, features
from analysis.figures import new_figure
from analysis.inputs import UNKNOWN
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import DataError
from artifacts.figure_style import COLOURS, HATCHES, LINES, SOFT, add_legend
from artifacts.verification.curves import RESAMPLES, Curve, Rate, curve, summary
from artifacts.verification.pairs import Measured, distances

Metric = Literal["euclidean", "cosine"]
MAX_PAIRS = 200_000
"""Maximum number of pairs of each kind; if there are more, this many are drawn at random."""
DET_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8)


def draw_pairs(found: FeatureVectors, labels: Ints, metric: Metric, seed: int) -> Measured:
    """Measure the distances of pairs of one class and of two, at most `MAX_PAIRS` of each.

    Args:
        found: N vectors.
        labels: N class indices.
        metric: euclidean; or cosine, 1 - cosine of the angle, 0..2.
        seed: seed for drawing the pairs.

    Raises:
        DataError: no class has two pictures, or there is only one class.
    """
    random = np.random.default_rng(seed)
    first, second = _same_pairs(labels, random)
    if not len(first):
        raise DataError(
            "no class has two pictures, so that there are no distances within a class; use more "
            "pictures."
        )
    left, right = _different_pairs(labels, random)
    if not len(left):
        raise DataError(
            "all pictures are of one class, so that there are no distances between classes; use "
            "pictures of at least two classes."
        )
    one, other = np.concatenate([first, left]), np.concatenate([second, right])
    return Measured(
        source="pictures",
        distances=distances(found.vectors, one, other, metric),
        people=np.stack([labels[one], labels[other]], axis=1),
        pictures=len(labels),
        missed=0,
    )


def findings(pairs: Measured, rates: Curve, eer: Rate) -> list[str]:
    """Describe medians, the equal error rate, and the FNMR at two false match rates."""
    one, two = pairs.distances[pairs.same], pairs.distances[~pairs.same]
    return [
        f"median distance {np.median(one):.4f} of {len(one):,} pairs of one class, "
        f"{np.median(two):.4f} of {len(two):,} pairs of two",
        f"equal error rate {eer.value:.4f} (95 % interval {eer.interval[0]:.4f} to "
        f"{eer.interval[1]:.4f}, "
        f"bootstrap by class) at distance {rates.eer_threshold:.4f}",
        *(
            f"false non-match rate {rates.fnmr_at(fmr):.4f} at false match rate {fmr:g}"
            for fmr in (1e-2, 1e-3)
        ),
    ]


def rows(rates: Curve, *, synthetic: bool) -> list[dict[str, Any]]:
    """Return the table: error rates at up to 1,001 thresholds, evenly spaced over the distances."""
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


def draw(pairs: Measured, rates: Curve, heading: str, footer: str) -> Figure:
    """Draw a box plot, histograms, cumulative distributions, and the DET curve."""
    figure = new_figure(heading, footer, width=11, height=8)
    (box, histogram), (curves, det) = figure.subplots(2, 2)
    both = {
        "one class": pairs.distances[pairs.same],
        "two classes": pairs.distances[~pairs.same],
    }
    drawn = box.boxplot(list(both.values()), tick_labels=list(both), showfliers=False)
    for line in drawn["medians"]:
        line.set_color("black")
    box.set(ylabel="distance", xlabel="pairs of pictures of")
    box.set_title("quartiles; whiskers at 1.5 times their range")
    edges = np.linspace(0, float(pairs.distances.max()) or 1.0, 61).tolist()
    for place, (name, values) in enumerate(both.items()):
        colour = COLOURS[place]
        filled = {"color": colour, "hatch": HATCHES[place], "alpha": 0.6, "label": name}
        histogram.hist(values, edges, density=True, edgecolor="white", **filled)
        curves.ecdf(values, color=colour, linestyle=LINES[place], label=name)
    for axes in (histogram, curves):
        axes.axvline(rates.eer_threshold, color=SOFT, linestyle=":", label="equal error rate")
        axes.set_xlabel("distance")
    histogram.set(ylabel="density", title="density of the distances")
    curves.set(ylabel="share of pairs nearer", title="cumulative distribution")
    inside = (rates.fmr > 0) & (rates.fmr < 1) & (rates.fnmr > 0) & (rates.fnmr < 1)
    det.plot(norm.ppf(rates.fmr[inside]), norm.ppf(rates.fnmr[inside]), color=COLOURS[0])
    ticks = norm.ppf(DET_TICKS)
    det.set_xticks(ticks, [f"{t:g}" for t in DET_TICKS])
    det.set_yticks(ticks, [f"{t:g}" for t in DET_TICKS])
    det.plot(ticks, ticks, color=SOFT, linestyle=":")
    det.set(xlabel="false match rate", ylabel="false non-match rate")
    det.set_title(f"error rates on normal deviates; equal at {rates.eer:.3f}")
    add_legend(figure, histogram)
    return figure


def _same_pairs(labels: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Return the indices of pairs of one class: all pairs, or a random sample of them."""
    classes = [np.flatnonzero(labels == number) for number in np.unique(labels)]
    ends = np.cumsum([len(members) * (len(members) - 1) // 2 for members in classes])
    # pairs are numbered class by class, and only the drawn ones are made, to save memory
    chosen = random.permutation(ends[-1] if len(ends) else 0)[:MAX_PAIRS]
    pairs = np.empty((2, len(chosen)), np.int64)
    start = 0
    for members, end in zip(classes, ends, strict=True):
        here = (start <= chosen) & (chosen < end)
        row_ends = np.cumsum(np.arange(len(members) - 1, 0, -1))  # (0, 1), (0, 2), ..., (1, 2), ...
        first = np.searchsorted(row_ends, chosen[here] - start, side="right")
        second = len(members) - (row_ends[first] - (chosen[here] - start))
        pairs[:, here] = members[first], members[second]
        start = end
    return pairs[0], pairs[1]


def _different_pairs(labels: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Return the indices of pairs of two classes: all if there are few, else a random sample."""
    count = len(labels)
    if count * (count - 1) // 2 <= MAX_PAIRS:
        a, b = np.triu_indices(count, 1)
    else:
        a, b = random.integers(0, count, (2, 2 * MAX_PAIRS))
    differ = labels[a] != labels[b]
    return a[differ][:MAX_PAIRS], b[differ][:MAX_PAIRS]


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
@click.option("--seed", default=0, show_default=True, help="Seed for drawing the pairs.")
def command(
    model: str,
    options: CommonOptions,
    metric: Metric,
    seed: int,
) -> None:
    """Measure distances within a class and between classes.

    Writes distances.png (box plot, histogram, cumulative distributions, DET curve), distances.csv
    (error rates over the threshold) and distances.json (equal error rate with its interval, and
    more).
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    if (pictures.labels == UNKNOWN).any():
        raise DataError(
            f"{pictures.source}: some pictures have no class; put the pictures of each class into "
            "a folder."
        )
    found = features(predictor, info, pictures)
    report_skipped(pictures)
    pairs = draw_pairs(found, pictures.labels[found.indices], metric, seed)
    rates = curve(pairs)
    heading = title(f"Distances ({metric}) of features", [info], pictures)
    write_report(
        options.folder("distances", (model,)),
        "distances",
        {"distances": rows(rates, synthetic=info.synthetic or pictures.synthetic)},
        {"distances": draw(pairs, rates, heading, this_command())},
        record([info], pictures, {"metric": metric, "seed": seed, "resamples": RESAMPLES}),
        findings(pairs, rates, summary(pairs, seed=seed).eer),
    )
