"""Feedback as a data set: a folder that `vitrine train` reads."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from artifacts import VitrineError
from artifacts.datasets.rows import SEPARATOR
from serving.feedback.store import FeedbackStore, Row
from serving.pictures.header import open_picture

TABLE = "metadata.csv"
"""Lists the pictures with their labels; `vitrine train` reads it."""
ALL = "feedback.jsonl"
"""Lists all feedback, also that from which nothing can be trained."""
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}


class Exported(NamedTuple):
    """What an export consists of."""

    answers: int
    """Number of answers with feedback."""
    pictures: int
    """Number of pictures in the data set: each once, with its newest labels."""
    without_picture: int
    """Number of answers whose right classes are known, but whose picture is not kept."""
    without_label: int
    """Number of answers that are only known to be wrong."""
    relabelled: int
    """Number of answers that are not in the data set because newer feedback on the same picture
    names other classes."""
    classes: int
    """Number of classes in the data set."""


def export(store: FeedbackStore, folder: Path, model: str | None) -> Exported:
    """Write feedback to a new folder; it appears there when it is complete.

    Args:
        store: where the feedback is.
        folder: does not exist, or is empty.
        model: name of the model, without a version; None if there is feedback on one model only.

    Raises:
        VitrineError: the folder is not empty, there is no feedback, it is about several models, or
            a class has a name that a table cannot hold.
        RequestError: the database does not answer.
        OSError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VitrineError(f"{folder}: exists and is not empty; name a new folder.")
    rows = _rows_of(store, model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "data"
        exported = _write(store, made, rows)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    return exported


def _rows_of(store: FeedbackStore, model: str | None) -> list[Row]:
    """Return the feedback about one model, the newest last."""
    rows = sorted(store.rows(model), key=lambda row: (row.given, row.key))
    models = sorted({row.model for row in rows})
    if not models:
        about = f" on {model!r}" if model else ""
        raise VitrineError(
            f"there is no feedback{about} in this database; VITRINE_DATABASE names another one."
        )
    if len(models) > 1:
        raise VitrineError(
            f"there is feedback on {', '.join(models)}; choose one of them with --model."
        )
    for row in rows:
        if odd := [name for name in row.labels or () if SEPARATOR in name or name != name.strip()]:
            raise VitrineError(
                f"the class {odd[0]!r} cannot be written to a table, in which {SEPARATOR} "
                "separates classes and spaces around them do not count; rename it in the model."
            )
    return rows


def _write(store: FeedbackStore, folder: Path, rows: Sequence[Row]) -> Exported:
    (folder / "pictures").mkdir(parents=True)
    labelled = [row for row in rows if row.labels is not None]
    newest: dict[str | None, Row] = {row.picture: row for row in labelled if row.picture}
    paths: dict[str | None, str] = {}
    for picture, row in newest.items():
        content = store.content(row.key)
        if content is None:  # erased meanwhile
            continue
        suffix = SUFFIXES.get(open_picture(content).format or "", ".gif")
        paths[picture] = f"pictures/{picture}{suffix}"
        (folder / paths[picture]).write_bytes(content)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        table.writerows(
            [path, SEPARATOR.join(newest[picture].labels or ())] for picture, path in paths.items()
        )
    with (folder / ALL).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in _lines(rows, paths))
    return Exported(
        answers=len(rows),
        pictures=len(paths),
        without_picture=sum(row.picture is None for row in labelled),
        without_label=len(rows) - len(labelled),
        relabelled=sum(
            row.picture in paths and row.labels != newest[row.picture].labels for row in labelled
        ),
        classes=len({name for p in paths for name in newest[p].labels or ()}),
    )


def _lines(rows: Sequence[Row], paths: dict[str | None, str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {
            "feedback": row.key,
            "path": paths.get(row.picture) if row.labels is not None else None,
            "labels": row.labels,
            "correct": row.correct,
            "predicted": row.predicted,
            "probability": row.probability,
            "model": row.model,
            "hash": row.hash,
            "version": row.version,
            "answered": row.answered.isoformat(),
            "given": row.given.isoformat(),
        }
