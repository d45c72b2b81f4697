"""What feedback on a server's answers says about a model: its accuracy and calibration in use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.options import model_option, report_folder
from analysis.output import record, this_command, write_report
from artifacts import VitrineError
from artifacts.figure_style import COLOURS, MARKERS, SOFT, add_legend, line_style
from serving.client import Client, FeedbackFigures, connect
from serving.schemas import ModelInfo

CAVEAT = (
    "these figures are about answers that somebody commented on; they hold for all answers only if "
    "feedback is given on a random sample"
)


def figures_of(client: Client, info: ModelInfo) -> list[FeedbackFigures]:
    """Return what feedback says about each version of a model.

    Raises:
        VitrineError: the server takes no feedback, or there is none on the model.
    """
    name = info.name.partition("@")[0]
    found = [each for each in client.feedback_summary().models if each.model == name]
    if not found:
        raise VitrineError(f"{info.name}: the server has no feedback on this model's answers yet.")
    return found


def rows(figures: Sequence[FeedbackFigures]) -> list[dict[str, Any]]:
    """Return the table, with a row for each version."""
    return [
        {
            "model": each.model,
            "version": each.version,
            "hash": each.hash,
            "answers": each.answers,
            "correct": each.correct,
            "labelled": each.labelled,
            "pictures": each.pictures,
            "accuracy": each.accuracy,
            "from": each.interval[0],
            "to": each.interval[1],
            "confidence": each.confidence,
            "ece": each.ece,
            "brier": each.brier,
        }
        for each in figures
    ]


def bins(figures: Sequence[FeedbackFigures]) -> list[dict[str, Any]]:
    """Return the table of calibration, with a row for each version and bin of the probability."""
    return [
        {
            "version": each.version,
            "from": place / len(each.bins),
            "to": (place + 1) / len(each.bins),
            "answers": own.answers,
            "confidence": own.confidence,
            "accuracy": own.correct / own.answers if own.answers else None,
        }
        for each in figures
        if each.bins is not None
        for place, own in enumerate(each.bins)
    ]


def findings(figures: Sequence[FeedbackFigures]) -> list[str]:
    """Describe each version in a sentence, and what the figures are about."""
    described = []
    for each in figures:
        low, high = each.interval
        text = (
            f"version {each.version}: accuracy {each.accuracy:.4f} ({low:.4f} to {high:.4f}) on "
            f"{each.answers:,} answers with feedback"
        )
        if each.ece is not None and each.brier is not None:
            text += (
                f", expected calibration error {each.ece:.4f} (15 bins), Brier score of the "
                f"predicted class {each.brier:.4f}"
            )
        described.append(text)
    return [*described, CAVEAT]


def draw(figures: Sequence[FeedbackFigures], heading: str, footer: str) -> Figure:
    """Draw the accuracy of each version and, of a classifier, its reliability."""
    figure = new_figure(heading, footer, width=11, height=4.5)
    left, right = figure.subplots(1, 2)
    shown = figures[: len(COLOURS)]
    for place, each in enumerate(shown):
        low, high = each.interval
        reach = [[each.accuracy - low], [high - each.accuracy]]
        left.errorbar(
            [place], [each.accuracy], yerr=reach, fmt=MARKERS[place], color=COLOURS[place]
        )
        filled = [bin_ for bin_ in each.bins or () if bin_.answers]
        right.plot(
            [bin_.confidence for bin_ in filled],
            [bin_.correct / bin_.answers for bin_ in filled],
            label=f"{each.version}, {each.answers:,} answers",
            **line_style(place),
        )
    left.set_xticks(range(len(shown)), [each.version for each in shown], rotation=20)
    left.set(ylim=(0, 1), xlim=(-0.5, len(shown) - 0.5), xlabel="version")
    left.set_ylabel("share of right answers, 95 % interval")
    right.plot([0, 1], [0, 1], color=SOFT, linestyle=":", label="perfectly calibrated")
    right.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the predicted class")
    right.set_ylabel("share of right answers")
    add_legend(figure, right)
    return figure


@click.command("feedback")
@model_option
@click.option("--url", required=True, help="Address of the server, with the key in VITRINE_KEY.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report; reports/ANALYSIS-MODEL by default.",
)
def command(model: str, url: str, out: Path | None) -> None:
    """Show accuracy and calibration of a model in use, by the feedback on a server's answers.

    Writes feedback.csv (a row per version), bins.csv, feedback.png (accuracy and reliability) and
    feedback.json.
    """
    client = connect(url)
    if not isinstance(client, Client):
        raise click.UsageError("--url is empty; give the address of a server.")
    info = client.model_info(model)
    found = figures_of(client, info)
    total = sum(each.answers for each in found)
    write_report(
        out or report_folder("feedback", (model,)),
        "feedback",
        {"feedback": rows(found), "bins": bins(found)},
        {
            "feedback": draw(
                found, f"Feedback on {model}: {total:,} answers of {url}", this_command()
            )
        },
        record([info], None, {}),
        findings(found),
    )
