"""Rows of CSV, JSON Lines and Parquet files, as texts, with the line that each stands on."""

import csv
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.distribution import install_command
from artifacts.errors import DataError

SEPARATOR = "|"
"""Separates the labels of a picture that has several."""
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Suffixes of the files that `read_rows` reads."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    where: str
    """The place of the row for messages, such as `pictures.csv, line 7`."""
    cells: Mapping[str, str]
    """Text of each cell by column, without surrounding spaces; empty if there is none."""


@dataclass(frozen=True)
class Rows:
    """A table."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, *columns: str) -> None:
        """Check that the table has columns of these names.

        Raises:
            DataError: A column is missing. The message lists the columns that there are.
        """
        for column in columns:
            if column not in self.columns:
                near = difflib.get_close_matches(column, self.columns, n=1)
                hint = f"; did you mean {near[0]!r}? Rename it" if near else "; add it"
                raise DataError(
                    f"{self.path}: the column {column!r} is missing{hint}. "
                    f"There are: {', '.join(self.columns)}."
                )


def read_rows(path: Path) -> Rows:
    """Read a table whose format is told by its suffix, one of `TABLES`.

    A CSV file is UTF-8, with or without a byte-order mark; its cells are separated by commas, or,
    if the first line has none, by semicolons or tabs. Lists in JSON Lines and Parquet become texts
    whose parts are separated by `SEPARATOR`.

    Raises:
        DataError: The file cannot be read, has no rows, has two columns of one name, or has another
            suffix; or it is a Parquet file and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise DataError(
            f"{path}: a table is a file whose name ends in {', '.join(TABLES)}; save it as CSV."
        )
    try:
        columns, rows = _read_parquet(path) if suffix == ".parquet" else _read_text(path, suffix)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check its name and its "
            "permissions."
        ) from None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as {suffix[1:].upper()} ({error}); save it again, in UTF-8."
        ) from None
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise DataError(f"{path}: two columns are called {repeated[0]!r}; rename one of them.")
    if not rows:
        raise DataError(f"{path}: the table has no rows; add one for each picture.")
    return Rows(path, columns, tuple(rows))


def _read_text(path: Path, suffix: str) -> tuple[tuple[str, ...], list[Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if suffix == ".jsonl":
            return _json_lines(path, file)
        first = file.readline()
        file.seek(0)
        delimiter = next((d for d in ",;\t" if d in first), ",")
        return _csv_lines(path, csv.reader(file, delimiter=delimiter, strict=True))


def _csv_lines(path: Path, reader: Any) -> tuple[tuple[str, ...], list[Row]]:
    columns = tuple(cell.strip() for cell in next(reader, []))
    rows = []
    line = reader.line_num + 1
    for cells in reader:
        where = f"{path.name}, line {line}"
        line = reader.line_num + 1  # a quoted cell may span several lines
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            raise DataError(
                f"{path.parent / where}: {len(cells)} cells, but the first line names "
                f"{len(columns)} columns; put cells that contain the separator into quotes."
            )
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        texts = (cell.strip() for cell in padded)
        rows.append(Row(where, dict(zip(columns, texts, strict=True))))
    return columns, rows


def _json_lines(path: Path, lines: Iterable[str]) -> tuple[tuple[str, ...], list[Row]]:
    columns: dict[str, None] = {}
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        value = json.loads(line)
        if not isinstance(value, dict):
            raise DataError(
                f"{path.parent / where}: is no JSON object; write one for each picture."
            )
        columns |= dict.fromkeys(value)
        rows.append(Row(where, {name: _text(cell) for name, cell in value.items()}))
    empty = dict.fromkeys(columns, "")
    return tuple(columns), [Row(row.where, {**empty, **row.cells}) for row in rows]


def _read_parquet(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - large, and of use for Parquet files alone
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError:
        raise DataError(
            f"{path}: Parquet is read with pyarrow, which is not installed; save the table as CSV, "
            f"or install it: {install_command('parquet')}"
        ) from None
    try:
        table = parquet.read_table(path)
    except pa.ArrowException as error:
        raise DataError(f"{path}: is no readable Parquet file ({error}); save it again.") from None
    rows: Iterator[dict[str, Any]] = iter(table.to_pylist())
    return tuple(table.column_names), [
        Row(f"{path.name}, row {number}", {name: _text(cell) for name, cell in row.items()})
        for number, row in enumerate(rows, 1)
    ]


def _text(cell: Any) -> str:
    if isinstance(cell, dict | bytes):  # such as the picture itself
        return ""
    if isinstance(cell, list | tuple):
        return SEPARATOR.join(_text(part) for part in cell)
    return "" if cell is None else str(cell).strip()
