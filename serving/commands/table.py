"""The rows that a command writes, one for each picture; a later run can go on with them."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts import VitrineError

Row = dict[str, Any]


@dataclass
class Table:
    """Rows that are written to a file, which a later run can resume, or to a stream.

    If a crash left an incomplete row at the end of the file, that row is removed on resuming. The
    rows of a Parquet file are kept as JSON lines beside it until `finish`.

    Args:
        columns: names of the columns; the first is `path` and the last `problem`.
        out: file to write, `.csv`, `.jsonl` or `.parquet`; None writes CSV to `stream`.
        stream: where the rows go if there is no file.
        model: hash of the model that answers, as in the column `hash`; None if the rows have none.

    Raises:
        VitrineError: the file has another suffix, or contains anything but rows of this table.
    """

    columns: Sequence[str]
    out: Path | None
    stream: IO[str]
    model: str | None = None
    done: set[str] = field(default_factory=set, init=False)
    """Paths that the file has a row for already."""

    def __post_init__(self) -> None:
        self._json = self.out is not None and self.out.suffix != ".csv"
        if self.out is not None and self.out.suffix not in {".csv", ".jsonl", ".parquet"}:
            raise VitrineError(
                f"{self.out}: the name of a .csv, .jsonl or .parquet file is expected."
            )
        self._file = self.out
        if self.out is not None and self.out.suffix == ".parquet":
            self._file = self.out.with_name(f"{self.out.name}.jsonl")
            if self.out.exists() and not self._file.exists():
                self._unpack(self.out)
        if self._file is not None and self._file.exists():
            self._resume(self._file)
        if not self.done:
            self._write("" if self._json else self._line(self.columns), truncate=True)

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows; those in a file survive a crash of this process."""
        if self._json:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            text = "".join(self._line([row.get(c, "") for c in self.columns]) for row in rows)
        self._write(text)

    def finish(self) -> None:
        """Write the Parquet file, if that is what is wanted, now that there is no more to add."""
        if self.out is None or self._file is None or self._file == self.out:
            return
        with self._file.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        partial = self.out.with_name(f"{self.out.name}.partial")
        pq.write_table(pa.Table.from_pylist(rows, schema(self.columns)), partial)
        partial.replace(self.out)
        self._file.unlink()

    def _unpack(self, out: Path) -> None:
        """Make JSON lines of a Parquet file, for rows to be added."""
        try:
            rows = pq.read_table(out)
        except pa.ArrowException:
            raise _other_content(out) from None
        if rows.column_names != [*self.columns]:
            raise _other_content(out)
        self.add([{n: v for n, v in row.items() if v is not None} for row in rows.to_pylist()])

    def _line(self, cells: Sequence[Any]) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        return line.getvalue()

    def _write(self, text: str, *, truncate: bool = False) -> None:
        if self._file is None:
            self.stream.write(text)
            self.stream.flush()
            return
        with self._file.open("w" if truncate else "a", encoding="utf-8", newline="") as file:
            file.write(text)

    def _resume(self, out: Path) -> None:
        content = out.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        try:
            if not complete:
                self._check_incomplete(content)
            rows = list(self._rows(complete.decode()))
        except (ValueError, KeyError, TypeError):
            raise _other_content(out) from None
        known = {None, "", self.model}  # rows of refused pictures have no hash
        if self.model is not None and any(row.get("hash") not in known for row in rows):
            raise VitrineError(
                f"{out}: holds answers of another model; name another file with --out."
            )
        self.done = {row["path"] for row in rows}
        if len(complete) < len(content):
            out.write_bytes(complete)

    def _check_incomplete(self, content: bytes) -> None:
        """Check that content without a complete line is the start of this table.

        Otherwise resuming would remove the content of an unrelated file.

        Raises:
            ValueError: it is not.
        """
        expected = b'{"path"' if self._json else self._line(self.columns).encode()
        if content[: len(expected)] != expected[: len(content)]:
            raise ValueError

    def _rows(self, text: str) -> Iterator[Row]:
        if self._json:
            for line in text.split("\n")[:-1]:
                row = json.loads(line)
                yield {"path": row["path"], "hash": row.get("hash")}
            return
        reader = csv.DictReader(io.StringIO(text))
        if text and reader.fieldnames != [*self.columns]:
            raise ValueError
        yield from reader


def schema(columns: Sequence[str]) -> pa.Schema:
    """Return the types of columns, which rows alone do not tell if all of them lack a value."""
    whole, real = {"width", "height"}, ("probability_", "score", "similarity_", "distance")
    return pa.schema(
        (
            name,
            pa.int32() if name in whole else pa.float64() if name.startswith(real) else pa.string(),
        )
        for name in columns
    )


def _other_content(out: Path) -> VitrineError:
    return VitrineError(
        f"{out}: contains something other than answers of this command; name another file with "
        "--out."
    )
