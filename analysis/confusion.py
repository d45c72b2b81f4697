"""The confusion matrix of a model as counts and rates, with examples of its mistakes."""

from collections.abc import Sequence
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from analysis.answers import Floats, Ints, Predictions, classify
from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from analysis.sheet import draw_sheet
from artifacts.figure_style import SLANTED, SMALL

NAMED_PAIRS = 10
SHOWN_PAIRS = 5
SHOWN_PICTURES = 8
MAX_WRITTEN_CLASSES = 20


def count(answers: Predictions, classes: int) -> Ints:
    """Return the confusion matrix C x C: numbers of pictures by true (row) and predicted class."""
    matrix: Ints = confusion_matrix(
        answers.labels, answers.predicted, labels=np.arange(classes)
    ).astype(np.int64)
    return matrix


def rates(counts: Ints) -> Floats:
    """Return each row as shares of its sum; zeros for a class without pictures."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: Floats = counts / np.maximum(totals, 1)
    return shares


def similarity_order(counts: Ints) -> Ints:
    """Return an order of the classes in which those that are often confused are adjacent.

    The method is average-linkage clustering with optimal leaf ordering (Bar-Joseph et al. 2001).
    """
    if len(counts) < 3:  # noqa: PLR2004  there is nothing to order
        return np.arange(len(counts))
    shares = rates(counts)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    order: Ints = leaves_list(tree).astype(np.int64)
    return order


def confused_pairs(counts: Ints) -> list[tuple[int, int]]:
    """Return the pairs (true class, predicted class) that occur, with the highest rate first."""
    shares = rates(counts)
    np.fill_diagonal(shares, 0)
    places = np.argsort(-shares, axis=None, kind="stable")[: np.count_nonzero(shares)]
    return [(int(place // len(counts)), int(place % len(counts))) for place in places]


def class_rows(
    answers: Predictions, counts: Ints, classes: Sequence[str], *, synthetic: bool
) -> list[dict[str, Any]]:
    """Return the table: precision, recall and F1 of each class, and its most common confusion."""
    precision, recall, f1, support = precision_recall_fscore_support(
        answers.labels, answers.predicted, labels=np.arange(len(classes)), zero_division=0.0
    )
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    return [
        {
            "class": name,
            "pictures": int(support[i]),
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "most_taken_for": classes[wrong[i].argmax()] if wrong[i].any() else "",
            "times": int(wrong[i].max()),
            "synthetic": synthetic,
        }
        for i, name in enumerate(classes)
    ]


def findings(counts: Ints, classes: Sequence[str]) -> list[str]:
    """Describe the accuracy, and the most confused pairs in both directions."""
    total, right = int(counts.sum()), int(np.trace(counts))
    lines = [f"accuracy {right / total:.4f}: {right:,} of {total:,} pictures"]
    named: set[frozenset[int]] = set()
    for true, predicted in confused_pairs(counts):
        if frozenset((true, predicted)) in named:
            continue
        named.add(frozenset((true, predicted)))
        lines.append(
            f"{classes[true]} is taken for {classes[predicted]} in {counts[true, predicted]} of "
            f"{counts[true].sum()} pictures, {classes[predicted]} for {classes[true]} in "
            f"{counts[predicted, true]} of {counts[predicted].sum()}"
        )
        if len(named) == NAMED_PAIRS:
            break
    return lines


def draw(counts: Ints, classes: Sequence[str], heading: str, footer: str) -> Figure:
    """Draw the matrix as rates, ordered by similarity, with counts if there are few classes."""
    order = similarity_order(counts)
    shown, names = rates(counts)[np.ix_(order, order)], [classes[i] for i in order]
    figure = new_figure(heading, footer, width=9, height=7.2)
    axes = figure.add_subplot(xlabel="predicted class", ylabel="true class")
    image = axes.imshow(100 * shown, cmap="cividis", vmin=0, vmax=100)
    figure.colorbar(image, label="share of the class (%)", shrink=0.8)
    if len(names) > MAX_WRITTEN_CLASSES:
        many = f"; {len(names)} classes, similar ones beside each other"
        axes.set(xticks=[], yticks=[], xlabel=f"predicted class{many}")
        return figure
    axes.set_xticks(range(len(names)), names, **SLANTED)
    axes.set_yticks(range(len(names)), names)
    for (row, column), share in np.ndenumerate(shown):
        colour = "black" if share > 0.5 else "white"  # noqa: PLR2004  for contrast with the map
        number = counts[order[row], order[column]]
        axes.text(column, row, f"{number}", ha="center", va="center", color=colour, fontsize=SMALL)
    return figure


def draw_pairs(
    answers: Predictions, counts: Ints, classes: Sequence[str], pictures: Pictures, heading: str
) -> Figure | None:
    """Draw the most confident mistakes of the most confused pairs; None without mistakes."""
    lines: list[tuple[str, list[tuple[int, str]]]] = []
    for true, predicted in confused_pairs(counts)[:SHOWN_PAIRS]:
        wrong = np.flatnonzero((answers.labels == true) & (answers.predicted == predicted))
        confidence = answers.probabilities[wrong, predicted]
        best = wrong[np.argsort(-confidence, kind="stable")][:SHOWN_PICTURES]
        sure = 100 * answers.probabilities[:, predicted]
        cells = [(answers.indices[i], f"{sure[i]:.0f} % sure") for i in best]
        lines.append((f"{classes[true]}\ntaken for\n{classes[predicted]}", cells))
    return draw_sheet(lines, pictures, heading, this_command()) if lines else None


@click.command("confusion")
@model_option
@common_options
def command(model: str, options: CommonOptions) -> None:
    """Show which classes are confused.

    Writes confusion.png (rates and counts, with classes ordered by similarity), pairs.png (the most
    confused pairs with their most confident mistakes), confusion.csv (precision, recall and F1 by
    class), matrix.csv (counts) and confusion.json (findings, model, data).
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    answers = classify(predictor, info, pictures)
    report_skipped(pictures)
    counts = count(answers, len(info.classes))
    heading = title("Confusion", [info], pictures)
    figures = {"confusion": draw(counts, info.classes, heading, this_command())}
    sheet = draw_pairs(
        answers, counts, info.classes, pictures, title("Most confused pairs", [info], pictures)
    )
    if sheet is not None:
        figures["pairs"] = sheet
    synthetic = info.synthetic or pictures.synthetic
    write_report(
        options.folder("confusion", (model,)),
        "confusion",
        {
            "confusion": class_rows(answers, counts, info.classes, synthetic=synthetic),
            "matrix": _matrix_rows(counts, info.classes),
        },
        figures,
        record([info], pictures, {}),
        findings(counts, info.classes),
    )


def _matrix_rows(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"class": name, **dict(zip(classes, row, strict=True))}
        for name, row in zip(classes, counts.tolist(), strict=True)
    ]
