"""Accuracy and calibration of each version of a model, computed from feedback by the database."""

from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Integer, case, func, literal, select, type_coerce

from artifacts.calibration import BINS, calibration_error
from artifacts.intervals import interval
from serving.feedback.schemas import FeedbackBin, FeedbackFigures
from serving.feedback.tables import feedback, versions


def read_figures(connection: Connection) -> tuple[FeedbackFigures, ...]:
    """Return the figures of every version that has feedback, by name and version."""
    right = case((feedback.c.correct, 1), else_=0)
    off = feedback.c.probability - type_coerce(right, Integer)
    query = (
        select(
            versions.c.model,
            versions.c.version,
            versions.c.hash,
            versions.c.task,
            feedback.c.bin,
            func.count().label("answers"),
            func.sum(right).label("correct"),
            func.count(feedback.c.labels).label("labelled"),
            func.count(feedback.c.picture).label("pictures"),
            func.coalesce(func.sum(feedback.c.probability), literal(0.0)).label("probability"),
            func.coalesce(func.sum(off * off), literal(0.0)).label("squares"),
        )
        .join(versions, versions.c.version == feedback.c.version)
        .group_by(*versions.c["model", "version", "hash", "task"], feedback.c.bin)
        .order_by(versions.c.model, versions.c.version)
    )
    rows = connection.execute(query)
    grouped = groupby(rows, key=lambda row: (row.model, row.version, row.hash, row.task))
    return tuple(_figures(names, list(group)) for names, group in grouped)


def _figures(names: tuple[str, str, str, str], rows: list[Any]) -> FeedbackFigures:
    model, version, hash_, task = names
    answers = sum(row.answers for row in rows)
    correct = sum(row.correct for row in rows)
    calibrated = task == "classification"
    sums, right = [row.probability for row in rows], [row.correct for row in rows]
    return FeedbackFigures(
        model=model,
        hash=hash_,
        version=version,
        task=task,
        answers=answers,
        correct=correct,
        labelled=sum(row.labelled for row in rows),
        pictures=sum(row.pictures for row in rows),
        accuracy=correct / answers,
        interval=interval(correct, answers),
        confidence=sum(row.probability for row in rows) / answers if calibrated else None,
        ece=calibration_error(sums, right, answers) if calibrated else None,
        brier=sum(row.squares for row in rows) / answers if calibrated else None,
        bins=_bins(rows) if calibrated else None,
    )


def _bins(rows: list[Any]) -> tuple[FeedbackBin, ...]:
    filled = {row.bin: row for row in rows}
    return tuple(
        FeedbackBin(
            answers=row.answers, correct=row.correct, confidence=row.probability / row.answers
        )
        if (row := filled.get(place))
        else FeedbackBin(answers=0, correct=0, confidence=None)
        for place in range(BINS)
    )
