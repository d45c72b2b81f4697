"""Labels that a model has reason to doubt."""

import warnings
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from analysis.answers import Classified, classify
from analysis.inputs import Pictures
from analysis.options import Asked, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from analysis.sheet import draw_sheet
from artifacts import DataError
from serving.schemas import ModelInfo

COLUMNS = 8
SHOWN = 32


def doubtful(answers: Classified) -> list[int]:
    """Places of the answers whose label is likely wrong, the likeliest first.

    Confident learning (Northcutt et al. 2021, arXiv 1911.00068) by cleanlab. The model must not
    have learned from these pictures, or it will have learned their mistakes.

    Raises:
        DataError: all labels are the same.
    """
    if len(np.unique(answers.labels)) == 1:
        raise DataError("all pictures are of one class: to doubt a label takes another class.")
    from cleanlab.filter import find_label_issues  # noqa: PLC0415  takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line for every class with few pictures
        ranked = find_label_issues(
            answers.labels,
            answers.probabilities,
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    return [int(place) for place in ranked]


def rows(
    doubts: Sequence[int],
    answers: Classified,
    info: ModelInfo,
    pictures: Pictures,
    *,
    synthetic: bool,
) -> list[dict[str, Any]]:
    """The table: one row per doubtful label, the likeliest mistake first."""
    return [
        {
            "picture": pictures.names[answers.indices[i]],
            "label": info.classes[answers.labels[i]],
            "probability_of_label": float(answers.probabilities[i, answers.labels[i]]),
            "predicted": info.classes[answers.predicted[i]],
            "probability": float(answers.probabilities[i].max()),
            "synthetic": synthetic,
        }
        for i in doubts
    ]


@click.command("labels")
@model_option
@common_options
def command(model: str, asked: Asked) -> None:
    """Labels that are likely wrong.

    Writes labels.csv (the likeliest mistake first), labels.png (the first of them) and labels.json.
    Use pictures that the model has not learned from.
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    pictures = asked.pictures()
    answers = classify(predictor, info, pictures)
    report_skipped(pictures)
    doubts = doubtful(answers)
    table = rows(doubts, answers, info, pictures, synthetic=info.synthetic or pictures.synthetic)
    cells = [
        (int(answers.indices[i]), f"{row['label']}?\n{row['predicted']}")
        for i, row in zip(doubts[:SHOWN], table, strict=False)
    ]
    lines = [("", cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    heading = title("Labels likely wrong", [info], pictures)
    write_report(
        asked.folder("labels", (model,)),
        "labels",
        {"labels": table},
        {"labels": draw_sheet(lines, pictures, heading, this_command())} if lines else {},
        record([info], pictures, {}),
        [f"{len(doubts)} of {len(answers.labels):,} labels are likely wrong"],
    )
