"""Many files, one row each: found, asked about in batches, written as they come, taken up again."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from artifacts import VitrineError
from serving.client.chunks import placed
from serving.pictures.header import open_picture
from serving.problems import RequestError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
"""Of the files that are taken from folders; a file that is named itself may have any."""
BATCH = 256
"""Files read and asked about, in several requests, before their rows are written."""

Row = dict[str, Any]
Ask = Callable[[Sequence[bytes]], Sequence[Row]]


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the pictures in the folders among them, each once, in order.

    Raises:
        VitrineError: a path does not exist, or there is no picture at all.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
            found |= dict.fromkeys(f for f in files if f.is_file())
        elif path.exists():
            found[path] = None
        else:
            raise VitrineError(f"{path}: no such file or folder.")
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        raise VitrineError(f"no pictures ({kinds}) in {', '.join(map(str, paths))}.")
    return list(found)


@dataclass
class Table:
    """The rows, in a file that can be taken up again or on a stream.

    A file ends with whole rows only: one torn by a crash is cut off when it is taken up.

    Args:
        columns: names, `path` the first and `problem` the last.
        out: file to write, `.csv` or `.jsonl`; None writes CSV to `stream`.
        stream: where rows go without a file.
        model: what each row was answered by, as in its column `hash`; None where there is none.

    Raises:
        VitrineError: another kind of file, or one that holds something else.
    """

    columns: Sequence[str]
    out: Path | None
    stream: IO[str]
    model: str | None = None
    done: set[str] = field(default_factory=set, init=False)
    """Paths that the file has a row of already."""

    def __post_init__(self) -> None:
        self._json = self.out is not None and self.out.suffix == ".jsonl"
        if self.out is not None and self.out.suffix not in {".csv", ".jsonl"}:
            raise VitrineError(f"{self.out}: the name of a .csv or .jsonl file is expected.")
        if self.out is not None and self.out.exists():
            self._take_up(self.out)
        if not self._json and not self.done:
            self._write(self._line(self.columns), anew=True)

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows; in a file they stay from here on."""
        if self._json:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            text = "".join(self._line([row.get(c, "") for c in self.columns]) for row in rows)
        self._write(text)

    def _line(self, cells: Sequence[Any]) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        return line.getvalue()

    def _write(self, text: str, *, anew: bool = False) -> None:
        if self.out is None:
            self.stream.write(text)
            self.stream.flush()
            return
        with self.out.open("w" if anew else "a", encoding="utf-8", newline="") as file:
            file.write(text)

    def _take_up(self, out: Path) -> None:
        content = out.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            if not whole:
                self._check_torn(content)
            rows = list(self._rows(whole.decode()))
        except (ValueError, KeyError, TypeError):
            raise VitrineError(
                f"{out}: holds something else than these answers; name another file with --out."
            ) from None
        known = {None, "", self.model}  # rows of refused pictures name no model
        if self.model is not None and any(row.get("hash") not in known for row in rows):
            raise VitrineError(f"{out}: holds answers of another model; name another file.")
        self.done = {row["path"] for row in rows}
        if len(whole) < len(content):
            out.write_bytes(whole)

    def _check_torn(self, content: bytes) -> None:
        """Refuse a line without an end that is not the beginning of ours: it would be cut off."""
        ours = b'{"path"' if self._json else self._line(self.columns).encode()
        if content[: len(ours)] != ours[: len(content)]:
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

    A picture that is refused gets a row with the reason under `problem`, and stops no other.

    Args:
        files: as `find_files` gives them.
        table: what they are written to.
        ask: gives a row for each picture of a batch, or raises a `RequestError` that names one.
        advance: is told how many files were dealt with.
        batch: files asked about before their rows are written.

    Returns:
        Number of files that were refused.
    """
    left = [file for file in files if str(file) not in table.done]
    advance(len(files) - len(left))
    refused = 0
    for start in range(0, len(left), batch):
        rows = _ask_batch(left[start : start + batch], ask)
        table.add(rows)
        refused += sum("problem" in row for row in rows)
        advance(len(rows))
    return refused


def _ask_batch(files: Sequence[Path], ask: Ask) -> list[Row]:
    rows: dict[Path, Row] = {}
    contents: dict[Path, bytes] = {}
    for file in files:
        try:
            contents[file] = file.read_bytes()
            open_picture(contents[file])  # what is no picture is not worth a request
        except (RequestError, OSError) as error:
            contents.pop(file, None)
            rows[file] = {"problem": str(error)}
    while contents:
        try:
            with placed(0, len(contents)):
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
