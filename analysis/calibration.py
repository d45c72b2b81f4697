"""Calibration of a classifier: its reliability before and after temperature scaling."""

from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from analysis.answers import Floats, Ints, Predictions, classify, uncalibrated
from analysis.figures import new_figure
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts.calibration import BINS, bins_of, calibration_error
from artifacts.figure_style import SOFT, add_legend, bar_style, line_style


@dataclass(frozen=True)
class Reliability:
    """Statistics of pictures in bins of equal width of the confidence.

    The confidence is the probability of the predicted class.
    """

    name: str
    pictures: Ints
    """BINS counts; see `bins_of`."""
    confidence: Floats
    """BINS means of the confidence; NaN in an empty bin."""
    accuracy: Floats
    """BINS shares of right answers; NaN in an empty bin."""
    ece: float
    """Expected calibration error; see `calibration_error`."""
    nll: float
    """Mean negative log probability of the true class, nats."""
    brier: float
    """Mean squared distance to the one-hot label, summed over classes (Brier 1950)."""


def reliability(name: str, probabilities: Floats, labels: Ints) -> Reliability:
    """Measure the calibration of probabilities N x C against N true classes."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = bins_of(confidence)
    pictures = np.bincount(bins, minlength=BINS)
    sums, hits = (np.bincount(bins, each, BINS) for each in (confidence, right))
    with np.errstate(invalid="ignore"):
        means, shares = sums / pictures, hits / pictures
    truth = probabilities[np.arange(len(labels)), labels]
    one_hot = np.eye(probabilities.shape[1])[labels]
    return Reliability(
        name=name,
        pictures=pictures,
        confidence=means,
        accuracy=shares,
        ece=calibration_error(sums, hits, len(labels)),
        nll=float(-np.log(np.maximum(truth, np.finfo(np.float64).tiny)).mean()),
        brier=float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
    )


def before_and_after(answers: Predictions, temperature: float) -> list[Reliability]:
    """Measure the calibration before temperature scaling, and as served."""
    before = uncalibrated(answers.probabilities, temperature)
    return [
        reliability("before temperature", before, answers.labels),
        reliability(
            f"as served, temperature {temperature:.3f}", answers.probabilities, answers.labels
        ),
    ]


def rows(measured: list[Reliability], *, synthetic: bool) -> list[dict[str, Any]]:
    """Return the table, with a row per measurement and bin."""
    edges = np.linspace(0, 1, BINS + 1)
    return [
        {
            "probabilities": each.name,
            "from": edges[i],
            "to": edges[i + 1],
            "pictures": int(each.pictures[i]),
            "confidence": each.confidence[i],
            "accuracy": each.accuracy[i],
            "synthetic": synthetic,
        }
        for each in measured
        for i in range(BINS)
    ]


def findings(measured: list[Reliability]) -> list[str]:
    """Describe the three figures of each measurement."""
    return [
        f"{each.name}: expected calibration error {each.ece:.4f} ({BINS} bins), "
        f"negative log likelihood {each.nll:.4f}, Brier score {each.brier:.4f}"
        for each in measured
    ]


def draw(measured: list[Reliability], heading: str, footer: str) -> Figure:
    """Draw a reliability diagram above the number of pictures by confidence."""
    figure = new_figure(heading, footer, width=8, height=8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=SOFT, linestyle=":", label="perfectly calibrated")
    width = 1 / (BINS * len(measured))
    for place, each in enumerate(measured):
        label = f"{each.name}: calibration error {each.ece:.3f}"
        upper.plot(each.confidence, each.accuracy, **line_style(place), label=label)
        x = np.arange(BINS) / BINS + (place + 0.5) * width
        lower.bar(x, each.pictures, width, **bar_style(place))
    upper.set(ylabel="share of right answers", ylim=(0, 1.02), xlim=(0, 1))
    lower.set(xlabel="probability of the predicted class", ylabel="pictures")
    add_legend(figure, upper)
    return figure


@click.command("calibration")
@model_option
@common_options
def command(model: str, options: CommonOptions) -> None:
    """Measure how well probabilities are calibrated, before and after temperature scaling.

    Writes calibration.png (reliability diagram), calibration.csv (a row per bin) and
    calibration.json (expected calibration error, negative log likelihood, Brier score).
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    answers = classify(predictor, info, pictures)
    report_skipped(pictures)
    measured = before_and_after(answers, info.temperature)
    heading = title("Calibration", [info], pictures)
    write_report(
        options.folder("calibration", (model,)),
        "calibration",
        {"calibration": rows(measured, synthetic=info.synthetic or pictures.synthetic)},
        {"calibration": draw(measured, heading, this_command())},
        record([info], pictures, {"bins": BINS, "temperature": info.temperature}),
        findings(measured),
    )
