"""Compares two models on the same pictures: agreement, accuracy, and statistical significance."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from analysis.answers import Predictions, classify
from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import DataError, VitrineError
from artifacts.figure_style import add_legend, bar_style
from serving.schemas import ModelInfo

MAX_BARS = 20


@dataclass(frozen=True)
class Comparison:
    """Numbers of pictures that each model classifies correctly, and McNemar's test of them."""

    both: int
    """Both models are right."""
    first: int
    """Only the first model is right."""
    second: int
    """Only the second model is right."""
    neither: int
    """Neither model is right."""
    agree: int
    """Both models predict the same class, right or wrong."""
    p_value: float
    """Of the exact McNemar test (1947): the probability that `first` and `second` differ at least
    this much if both models are equally accurate."""

    @property
    def pictures(self) -> int:
        """Number of pictures."""
        return self.both + self.first + self.second + self.neither


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Compare two models' answers to the same pictures."""
    a, b = first.right, second.right
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    uneven = only_first + only_second
    return Comparison(
        both=int((a & b).sum()),
        first=only_first,
        second=only_second,
        neither=int((~a & ~b).sum()),
        agree=int((first.predicted == second.predicted).sum()),
        p_value=float(binomtest(only_first, uneven).pvalue) if uneven else 1.0,
    )


def findings(found: Comparison, infos: Sequence[ModelInfo], speeds: Sequence[float]) -> list[str]:
    """Describe the comparison; `speeds` are pictures per second, or 0 if answers were cached."""
    one, two = (info.name for info in infos)
    total = found.pictures
    lines = [
        f"{one} is right on {(found.both + found.first) / total:.4f}, {two} on "
        f"{(found.both + found.second) / total:.4f} of {total:,} pictures; they agree on "
        f"{found.agree / total:.4f}",
        f"only {one} is right on {found.first}, only {two} on {found.second}: McNemar's exact "
        f"test gives p = {found.p_value:.3g}",
    ]
    for info, speed in zip(infos, speeds, strict=True):
        weights = f"{info.parameters.total:,} weights" if info.parameters else "size unknown"
        pace = f"{speed:.0f} pictures/s in this run, " if speed else ""
        lines.append(f"{info.name}: {pace}{weights}")
    return lines


def rows(
    answers: tuple[Predictions, Predictions], infos: Sequence[ModelInfo], pictures: Pictures
) -> list[dict[str, Any]]:
    """Return the table, with a row per picture on which the models disagree."""
    one, two = answers
    differ = np.flatnonzero(one.predicted != two.predicted)
    synthetic = pictures.synthetic or any(info.synthetic for info in infos)
    table = []
    for i in differ:
        row: dict[str, Any] = {
            "picture": pictures.names[one.indices[i]],
            "label": pictures.label(int(one.indices[i])),
        }
        for each, info in zip(answers, infos, strict=True):
            guess = each.predicted[i]
            row[info.name] = infos[0].classes[guess]
            row[f"{info.name} probability"] = float(each.probabilities[i, guess])
        table.append({**row, "synthetic": synthetic})
    return table


def draw(
    answers: tuple[Predictions, Predictions],
    infos: Sequence[ModelInfo],
    heading: str,
    footer: str,
) -> Figure:
    """Draw the accuracy of both models by class, limited to the classes that differ most."""
    classes = infos[0].classes
    shares = np.array(
        [[_share(each.right[each.labels == c]) for c in range(len(classes))] for each in answers]
    )  # (2, C)
    order = np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")[:MAX_BARS]
    figure = new_figure(heading, footer, width=9, height=1.8 + 0.4 * len(order))
    axes = figure.add_subplot(xlabel="accuracy (%)", ylabel="class", xlim=(0, 100))
    for place, (info, line) in enumerate(zip(infos, shares, strict=True)):
        y = np.arange(len(order)) + 0.4 * place
        axes.barh(y, 100 * line[order], 0.4, label=info.name, **bar_style(place))
    axes.set_yticks(np.arange(len(order)) + 0.2, [classes[i] for i in order])
    axes.invert_yaxis()
    if len(order) < len(classes):
        axes.set_ylabel(f"the {len(order)} of {len(classes)} classes that differ most")
    add_legend(figure, axes)
    return figure


def _share(right: Any) -> float:
    return float(right.mean()) if len(right) else 0.0


@click.command("compare")
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Model to compare; give this option twice.",
)
@common_options
def command(models: tuple[str, ...], options: CommonOptions) -> None:
    """Compare two models on the same pictures.

    Writes compare.png (accuracy by class), compare.csv (the pictures on which they disagree) and
    compare.json (agreement, accuracy, McNemar's test, speed and size).
    """
    if len(set(models)) != 2:  # noqa: PLR2004
        raise click.UsageError("give --model twice, with two different names.")
    predictor = options.predictor()
    infos = [predictor.model_info(name) for name in models]
    if set(infos[0].classes) != set(infos[1].classes):
        raise VitrineError(
            f"{models[0]} and {models[1]} have different classes; choose models with the same ones."
        )
    pictures = options.pictures()
    speeds, answered = [], []
    for info in infos:
        start = time.perf_counter()
        answered.append(classify(predictor, info, pictures))
        seconds = time.perf_counter() - start
        speeds.append(0.0 if options.answers else len(answered[-1].indices) / seconds)
    report_skipped(pictures)
    if len(pictures.skipped) == len(pictures):
        raise DataError(f"{pictures.source}: no picture is accepted by both models.")
    answers = _on_common(answered[0], answered[1], infos)
    heading = title("Accuracy by class", infos, pictures)
    write_report(
        options.folder("compare", models),
        "compare",
        {"compare": rows(answers, infos, pictures)},
        {"compare": draw(answers, infos, heading, this_command())},
        record(infos, pictures, {}),
        findings(compare(*answers), infos, speeds),
    )


def _on_common(
    first: Predictions, second: Predictions, infos: Sequence[ModelInfo]
) -> tuple[Predictions, Predictions]:
    """Return the answers to the pictures that both accepted, in the first model's class order."""
    _, a, b = np.intersect1d(first.indices, second.indices, return_indices=True)
    columns = [infos[1].classes.index(name) for name in infos[0].classes]
    return (
        Predictions(first.indices[a], first.probabilities[a], first.labels[a]),
        Predictions(second.indices[b], second.probabilities[b][:, columns], first.labels[a]),
    )
