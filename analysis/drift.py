"""Drift of pictures from those a model was validated on, in their sizes, confidences and features.

The distances are defined in `artifacts.drift_distances`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import VitrineError
from artifacts.drift_distances import Distance, distances, feature_distances
from artifacts.figure_style import COLOURS, SLANTED, SMALL, add_legend, bar_style
from artifacts.reference import MIN_SIDE, SIDE_BINS, Floats, Moments, Reference, Sums
from serving.client.chunks import Source, source_size
from serving.client.predictor import Predictor
from serving.schemas import ModelInfo

DIMENSIONS = 20
"""Number of features in the figure: those that have moved most."""


@dataclass(frozen=True)
class DriftComparison:
    """The reference of a model, the moments that are compared with it, and their distances."""

    reference: Reference
    moments: Moments
    distances: tuple[Distance, ...]


def compare_pictures(predictor: Predictor, info: ModelInfo, pictures: Pictures) -> DriftComparison:
    """Ask about pictures, and compare the answers with the model's reference.

    Args:
        predictor: a server or the artifacts. A server counts these among its last answers.
        info: description of the model.
        pictures: the pictures; their labels do not matter.

    Raises:
        VitrineError: the model has no reference.
        DataError: no picture can be read.
    """
    answer = predictor.drift(info.name)
    if answer.reference is None:
        raise VitrineError(f"{info.name}: {answer.missing}")
    reference = answer.reference
    sums = Sums(reference)

    def question(images: list[Source]) -> Floats:
        confidences = features = None
        if reference.edges:
            classified = predictor.classify(info.name, images, top=1).pictures
            confidences = np.array([picture.top[0].probability for picture in classified])
        if reference.moments.mean:
            features = predictor.features(info.name, images).astype(np.float64)
        return sums.of([source_size(image) for image in images], confidences, features)

    parts = [part for _, part in pictures.ask(f"answers of {info.name}", question)]
    moments = sums.moments(np.sum(parts, axis=0))
    return DriftComparison(reference, moments, distances(reference, moments))


def compare_last_answers(predictor: Predictor, info: ModelInfo) -> DriftComparison:
    """Compare the last answers of a server with the model's reference.

    Raises:
        VitrineError: there are too few answers, or the model has no reference.
    """
    answer = predictor.drift(info.name)
    if answer.reference is None or answer.moments is None:
        raise VitrineError(f"{info.name}: {answer.missing}")
    return DriftComparison(answer.reference, answer.moments, answer.distances)


def histograms(compared: DriftComparison) -> list[dict[str, Any]]:
    """Return the table of histograms: shares of the pictures by side (px) and by confidence."""
    then, now = compared.reference.moments, compared.moments
    sides = MIN_SIDE * 2.0 ** ((np.arange(SIDE_BINS + 1) - 0.5) / 2)
    rows = _bins("sides", sides, then.sides, now.sides)
    if compared.reference.edges:
        edges = np.array([0.0, *compared.reference.edges, 1.0])
        rows += _bins("confidences", edges, then.confidences, now.confidences)
    return rows


def features(compared: DriftComparison) -> list[dict[str, Any]]:
    """Return the table of feature dimensions, the one that moved most first."""
    then, now = compared.reference.moments, compared.moments
    parts = feature_distances(then, now)
    return [
        {
            "dimension": int(i),
            "mean_reference": then.mean[i],
            "mean": now.mean[i],
            "deviation_reference": then.variance[i] ** 0.5,
            "deviation": now.variance[i] ** 0.5,
            "part": parts[i],
        }
        for i in np.argsort(-parts, kind="stable")
    ]


def findings(compared: DriftComparison) -> list[str]:
    """Describe how far each quantity has moved."""
    return [
        f"{each.quantity}: distance {each.value:.4f}, {'DRIFT' if each.drifted else 'no drift'} "
        f"(limit {each.limit:g}; {each.by_chance:.4f} is expected by chance) over "
        f"{compared.moments.pictures:,} pictures, against {compared.reference.data}"
        for each in compared.distances
    ]


def draw(compared: DriftComparison, heading: str, footer: str) -> Figure:
    """Draw both histograms beside those of the reference, and the features that moved most."""
    figure = new_figure(heading, footer, width=11, height=4.5)
    panels = figure.subplots(1, 3)
    rows = histograms(compared)
    found: dict[str, str] = {e.quantity: f"distance {e.value:.3f}" for e in compared.distances}
    for axes, quantity in zip(panels[:2], ("sides", "confidences"), strict=True):
        bins = [row for row in rows if row["quantity"] == quantity]
        filled = [row for row in bins if row["reference"] or row["share"]]
        x = np.arange(len(filled))
        for place, (key, label) in enumerate((("reference", "validation"), ("share", "compared"))):
            shares = [100 * row[key] for row in filled]
            axes.bar(x + 0.4 * place - 0.2, shares, 0.4, label=label, **bar_style(place))
        names = [f"{row['from']:.3g} to {row['to']:.3g}" for row in filled]
        axes.set_xticks(x, names, fontsize=SMALL, **SLANTED)
        axes.set_ylabel("share of the pictures (%)")
    moved = features(compared)[:DIMENSIONS]
    panels[2].bar(range(len(moved)), [row["part"] for row in moved], color=COLOURS[2])
    panels[2].set_xticks(
        range(len(moved)), [str(row["dimension"]) for row in moved], rotation=90, fontsize=SMALL
    )
    panels[2].set_ylabel("part of the distance (0 to 1)")
    panels[0].set_xlabel("longer side (pixels)")
    panels[1].set_xlabel("probability of the most probable class")
    panels[2].set_xlabel(f"dimensions that moved most, of {len(compared.moments.mean)}")
    for axes, quantity in zip(panels, ("sides", "confidences", "features"), strict=True):
        axes.set_title(f"{quantity}: {found.get(quantity, 'not measured')}")
    add_legend(figure, panels[0])
    return figure


@click.command("drift")
@model_option
@common_options
def command(model: str, options: CommonOptions) -> None:
    """Measure how far pictures are from those that the model was validated on.

    With --images or --dataset, these pictures are measured. With --url alone, the last answers of
    the server are. Writes drift.csv (a row per quantity), histograms.csv, features.csv (a row per
    dimension), drift.png and drift.json.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = None
    if options.url and options.images is None and options.dataset is None:
        compared = compare_last_answers(predictor, info)
        heading = f"Drift: {model}, last {compared.moments.pictures:,} answers of {options.url}"
    else:
        pictures = options.pictures()
        compared = compare_pictures(predictor, info, pictures)
        report_skipped(pictures)
        heading = title("Drift", [info], pictures)
    write_report(
        options.folder("drift", (model,)),
        "drift",
        {
            "drift": [each.model_dump() for each in compared.distances],
            "histograms": histograms(compared),
            "features": features(compared),
        },
        {"drift": draw(compared, heading, this_command())},
        record([info], pictures, {"reference": compared.reference.data}),
        findings(compared),
    )


def _bins(
    quantity: str, edges: Floats, then: Sequence[int], now: Sequence[int]
) -> list[dict[str, Any]]:
    before, after = (np.array(counts) / max(sum(counts), 1) for counts in (then, now))
    return [
        {
            "quantity": quantity,
            "from": edges[i],
            "to": edges[i + 1],
            "reference": before[i],
            "share": after[i],
        }
        for i in range(len(before))
    ]
