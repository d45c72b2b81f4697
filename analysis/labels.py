"""Finds labels that are likely wrong."""

import warnings
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from analysis.answers import Predictions, classify
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from analysis.sheet import draw_sheet
from artifacts import DataError
from serving.schemas import ModelInfo

SHOWN = 32
"""Number of pictures in the figure."""


def doubtful(answers: Predictions) -> list[int]:
    """Return the indices of the answers whose label is likely wrong, the likeliest first.

    The method is confident learning (Northcutt et al. 2021, arXiv 1911.00068), as implemented by
    cleanlab. The model must not have been trained on these pictures; otherwise it has learned
    their wrong labels, too.

    Raises:
        DataError: all labels are the same.
    """
    if len(np.unique(answers.labels)) == 1:
        raise DataError(
            "all pictures are of one class; use pictures of at least two classes to find wrong "
            "labels."
        )
    from cleanlab.filter import find_label_issues  # noqa: PLC0415  takes seconds to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cleanlab warns about every class with few pictures
        ranked = find_label_issues(
            answers.labels,
            answers.probabilities,
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    return [int(place) for place in ranked]


def rows(
    doubts: Sequence[int],
    answers: Predictions,
    info: ModelInfo,
    pictures: Pictures,
    *,
    synthetic: bool,
) -> list[dict[str, Any]]:
    """Return the table, with a row per doubtful label, the likeliest mistake first."""
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
def command(model: str, options: CommonOptions) -> None:
    """Find labels that are likely wrong.

    Writes labels.csv (the likeliest mistakes first), labels.png (the first of them) and
    labels.json. Use pictures that the model was not trained on.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    answers = classify(predictor, info, pictures)
    report_skipped(pictures)
    doubts = doubtful(answers)
    table = rows(doubts, answers, info, pictures, synthetic=info.synthetic or pictures.synthetic)
    cells = [
        (int(answers.indices[i]), f"label: {row['label']}\nmodel: {row['predicted']}")
        for i, row in zip(doubts[:SHOWN], table, strict=False)
    ]
    heading = title("Labels that are likely wrong", [info], pictures)
    write_report(
        options.folder("labels", (model,)),
        "labels",
        {"labels": table},
        {"labels": draw_sheet([("", cells)], pictures, heading, this_command())} if cells else {},
        record([info], pictures, {}),
        [f"{len(doubts)} of {len(answers.labels):,} labels are likely wrong"],
    )
