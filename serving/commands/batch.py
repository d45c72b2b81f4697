"""Finds files, asks about them in batches and writes one row for each; a run can be resumed."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from artifacts import VitrineError
from serving.client.chunks import picture_index_from
from serving.pictures.header import open_picture
from serving.problems import RequestError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
"""Suffixes of the files that are taken from folders; a file given by name may have any suffix."""
BATCH = 256
"""Number of files that are read and asked about before their rows are written."""

Row = dict[str, Any]
Ask = Callable[[Sequence[bytes]], Sequence[Row]]


def find_files(paths: Sequence[Path]) -> dict[Path, str]:
    """Find the files among `paths` and the pictures in its folders, each once and in order.

    Returns:
        The files, each with its name: its path below the folder among `paths`, which is the same
        wherever that folder is mounted, or the path as given.

    Raises:
        VitrineError: a path does not exist, or there is no picture at all.
    """
    found: dict[Path, str] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
            for file in files:
                if file.is_file():
                    found.setdefault(file, file.relative_to(path).as_posix())
        elif path.exists():
            found.setdefault(path, path.as_posix())
        else:
            raise VitrineError(f"{path}: no such file or folder.")
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        raise VitrineError(f"no pictures ({kinds}) in {', '.join(map(str, paths))}.")
    return found


@dataclass
class Table:
    """Rows that are written to a file, which a later run can resume, or to a stream.

    If a crash left an incomplete row at the end of the file, that row is removed on resuming.

    Args:
        columns: names of the columns; the first is `path` and the last `problem`.
        out: file to write, `.csv` or `.jsonl`; None writes CSV to `stream`.
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
        self._json = self.out is not None and self.out.suffix == ".jsonl"
        if self.out is not None and self.out.suffix not in {".csv", ".jsonl"}:
            raise VitrineError(f"{self.out}: the name of a .csv or .jsonl file is expected.")
        if self.out is not None and self.out.exists():
            self._resume(self.out)
        if not self.done:
            self._write("" if self._json else self._line(self.columns), truncate=True)

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows; those in a file survive a crash of this process."""
        if self._json:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            text = "".join(self._line([row.get(c, "") for c in self.columns]) for row in rows)
        self._write(text)

    def _line(self, cells: Sequence[Any]) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        return line.getvalue()

    def _write(self, text: str, *, truncate: bool = False) -> None:
        if self.out is None:
            self.stream.write(text)
            self.stream.flush()
            return
        with self.out.open("w" if truncate else "a", encoding="utf-8", newline="") as file:
            file.write(text)

    def _resume(self, out: Path) -> None:
        content = out.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        try:
            if not complete:
                self._check_incomplete(content)
            rows = list(self._rows(complete.decode()))
        except (ValueError, KeyError, TypeError):
            raise VitrineError(
                f"{out}: contains something other than answers of this command; name another "
                "file with --out."
            ) from None
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


def ask_all(
    files: Sequence[Path],
    table: Table,
    ask: Ask,
    advance: Callable[[int], None],
    batch: int = BATCH,
) -> int:
    """Write a row for each file that has none yet.

    A picture that is refused gets a row with the reason in the column `problem`; the other pictures
    are answered.

    Args:
        files: those of `find_files`.
        table: where the rows are written.
        ask: returns a row for each picture of a batch, or raises a `RequestError` that names one.
        advance: called with the number of files that were completed since the last call.
        batch: number of files that are asked about before their rows are written.

    Returns:
        Number of files that were refused.
    """
    left = [file for file in files if str(file) not in table.done]
    advance(len(files) - len(left))
    refused = 0
    for start in range(0, len(left), batch):
        rows = ask_batch(left[start : start + batch], ask)
        table.add(rows)
        refused += sum("problem" in row for row in rows)
        advance(len(rows))
    return refused


def ask_batch(files: Sequence[Path], ask: Ask) -> list[Row]:
    """Read the files and ask about them; files that are refused do not keep the others from it.

    Returns:
        A row for each file, in order. It has the columns of `ask`, or `problem`, and `path`.
    """
    rows: dict[Path, Row] = {}
    contents: dict[Path, bytes] = {}
    for file in files:
        try:
            contents[file] = file.read_bytes()
            open_picture(contents[file])  # saves a request for a file that is no picture
        except (RequestError, OSError) as error:
            contents.pop(file, None)
            rows[file] = {"problem": str(error)}
    while contents:
        try:
            with picture_index_from(0, len(contents)):
                answers = ask(list(contents.values()))
        except RequestError as error:
            if error.picture is None:
                raise
            file = list(contents)[error.picture]
            rows[file] = {"problem": error.reason}
            del contents[file]
        else:
            rows |= dict(zip(contents, answers, strict=True))
            break
    return [{"path": str(file)} | rows[file] for file in files]
