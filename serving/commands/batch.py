"""Finds files, asks about them in batches and writes one row for each."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

from artifacts import VitrineError
from artifacts.stores.location import Location
from serving.client.chunks import picture_index_from
from serving.commands.remote import Picture, find_remote, read_files
from serving.commands.table import Row, Table
from serving.pictures.header import open_picture
from serving.problems import RequestError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
"""Suffixes of the files that are taken from folders; a file given by name may have any suffix."""
BATCH = 256
"""Number of files that are read and asked about before their rows are written."""

Ask = Callable[[Sequence[bytes]], Sequence[Row]]


def listed_files(listing: str) -> list[Path]:
    """Return the paths of a listing, one a line, or ended by NUL as `find -print0` writes them."""
    return [Path(path) for path in listing.split("\0" if "\0" in listing else "\n") if path]


@overload
def find_files(paths: Sequence[Path], listed: Sequence[Path] = ()) -> dict[Path, str]: ...
@overload
def find_files(
    paths: Sequence[Path | Location], listed: Sequence[Path] = ()
) -> dict[Picture, str]: ...
def find_files(paths: Sequence[Path | Location], listed: Sequence[Path] = ()) -> Mapping[Any, str]:
    """Find the files among `paths` and the pictures in its folders, each once and in order.

    Args:
        paths: files and folders, here or in stores.
        listed: further files and folders; those that are missing are reported when they are read.

    Returns:
        The files, each with its name: its path below the folder among `paths`, which is the same
        wherever that folder is mounted, or the path as given.

    Raises:
        VitrineError: a path does not exist, or there is no picture at all.
        StoreError: a store cannot be reached.
    """
    found: dict[Picture, str] = {}
    may_miss = set(listed)
    for path in (*paths, *listed):
        if isinstance(path, Location):
            found |= find_remote(path, SUFFIXES)
        elif path.is_dir():
            files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
            for file in files:
                if file.is_file():
                    found.setdefault(file, file.relative_to(path).as_posix())
        elif path in may_miss or path.exists():
            found.setdefault(path, path.as_posix())
        else:
            raise VitrineError(f"{path}: no such file or folder.")
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        shown = [path.shown if isinstance(path, Location) else str(path) for path in paths]
        raise VitrineError(f"no pictures ({kinds}) in {', '.join(shown) or 'the list'}.")
    return found


def ask_all(
    files: Sequence[Picture],
    table: Table,
    ask: Ask,
    report: Callable[[int], None],
    batch: int = BATCH,
    ahead: int = 0,
) -> int:
    """Write a row for each file that has none yet.

    A picture that is refused gets a row with the reason in the column `problem`; the other pictures
    are answered.

    Args:
        files: those of `find_files`.
        table: where the rows are written.
        ask: returns a row for each picture of a batch, or raises a `RequestError` that names one.
        report: called with the number of files that are completed.
        batch: number of files that are asked about before their rows are written.
        ahead: number of further batches that are asked about meanwhile, in threads of their own.

    Returns:
        Number of files that were refused.
    """
    left = [file for file in files if str(file) not in table.done]
    done = len(files) - len(left)
    refused = 0
    batches = [left[start : start + batch] for start in range(0, len(left), batch)]
    for rows in _answers(batches, ask, ahead):
        table.add(rows)
        refused += sum("problem" in row for row in rows)
        done += len(rows)
        report(done)
    return refused


def _answers(batches: Sequence[Sequence[Picture]], ask: Ask, ahead: int) -> Iterator[list[Row]]:
    """Yield the rows of each batch, in order, while up to `ahead` others are asked about."""
    if not ahead:
        yield from (ask_batch(batch, ask) for batch in batches)
        return
    waiting: deque[Future[list[Row]]] = deque()
    with ThreadPoolExecutor(1 + ahead) as pool:
        for batch in batches:
            waiting.append(pool.submit(ask_batch, batch, ask))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def ask_batch(files: Sequence[Picture], ask: Ask) -> list[Row]:
    """Read the files and ask about them; files that are refused do not keep the others from it.

    Returns:
        A row for each file, in order. It has the columns of `ask`, or `problem`, and `path`.
    """
    rows: dict[Picture, Row] = {}
    contents: dict[Picture, bytes] = {}
    for file, content in zip(files, read_files(files), strict=True):
        try:
            if isinstance(content, OSError):
                raise content
            open_picture(content)  # saves a request for a file that is no picture
            contents[file] = content
        except (RequestError, OSError) as error:
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
