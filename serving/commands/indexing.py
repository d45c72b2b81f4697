"""Finds the pictures of a folder or a table, and embeds those whose embeddings are not known."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from artifacts import VitrineError
from artifacts.datasets.rows import TABLES, read_rows
from artifacts.provenance import cores
from artifacts.stores.location import Location
from serving.client.chunks import source_size
from serving.commands.batch import ask_batch, find_files
from serving.commands.remote import Picture, RemotePicture
from serving.commands.table import Row
from serving.indexes.partial import Partial
from serving.indexes.search import Floats, unit
from serving.indexes.stored import IndexedPicture

BATCH = 64
"""Number of pictures that are read and embedded at a time."""

Embed = Callable[[Sequence[bytes]], Floats]
"""Returns the embeddings (N x D) of N encoded pictures."""


@dataclass(frozen=True)
class Found:
    """A picture that belongs in the index."""

    file: Picture
    path: str
    """See `IndexedPicture.path`."""
    label: str
    size: int = -1
    """See `IndexedPicture.size`; -1 if the file does not exist, or the store does not say it."""
    modified: int = -1


@dataclass
class Contents:
    """What an index is to hold."""

    rows: dict[str, tuple[IndexedPicture, Floats]] = field(default_factory=dict)
    """Pictures with their embeddings of length 1 (D), by path."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Why a file has no embedding, by path."""

    def add(self, found: Found, known: IndexedPicture, vector: Floats) -> None:
        """Add a picture whose content is that of a known one."""
        row = replace(
            known,
            path=found.path,
            label=found.label,
            size=found.size if found.size >= 0 else known.size,
            modified=found.modified,
        )
        self.rows[found.path] = (row, vector)


class Known:
    """Embeddings that need not be computed, by the content of the files.

    Args:
        pictures: pictures that were embedded earlier, with their embeddings (N x D).
    """

    def __init__(self, pictures: Iterable[tuple[list[IndexedPicture], Floats]]) -> None:
        self._by_path: dict[str, str] = {}
        self._by_content: dict[str, tuple[IndexedPicture, Floats]] = {}
        for rows, vectors in pictures:
            for row, vector in zip(rows, vectors, strict=True):
                self._by_path[f"{row.path}\n{row.size}\n{row.modified}"] = row.sha256
                self._by_content[row.sha256] = row, vector

    def find(self, found: Found) -> tuple[IndexedPicture, Floats] | None:
        """Return a picture with the same content and its embedding, or None.

        The file is not read if its path, size and modification time are known. One in a store is
        never read for this: embedding it costs less than a second transfer.
        """
        digest = None
        if found.modified >= 0:
            digest = self._by_path.get(f"{found.path}\n{found.size}\n{found.modified}")
        if digest is None and self._by_content and isinstance(found.file, Path):
            with suppress(OSError), found.file.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        return None if digest is None else self._by_content.get(digest)


def find_pictures(source: Path | Location, contents: Contents, *, labels: bool) -> list[Found]:
    """Find the pictures of a folder, or those that a table names in its column `path`.

    Args:
        source: the folder, here or in a store, or the table. The table may also have a column
            `label`.
        contents: files that cannot be indexed are added to `skipped`.
        labels: whether the folder that a picture lies in is its label.

    Returns:
        The pictures in the order of their paths, each once.

    Raises:
        VitrineError: there is no picture, or the table cannot be read.
        StoreError: the store cannot be reached.
    """
    if isinstance(source, Location):
        return _find_remote(source, labels=labels)
    root = source if source.is_dir() else source.parent
    if source.is_dir():
        listed = [(file, file.parent.name if labels else "") for file in find_files([source])]
    elif source.suffix.lower() in TABLES:
        table = read_rows(source)
        table.require("path")
        listed = [(root / r.cells["path"], r.cells.get("label", "")) for r in table.rows]
    else:
        raise VitrineError(f"{source}: a folder, or a table ({', '.join(TABLES)}), is expected.")
    found = {}
    for file, label in listed:
        path = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
        if (shown := os.fsencode(path).decode(errors="replace")) != path:
            contents.skipped[shown] = "the name is not UTF-8; rename the file."
            continue
        found[path] = Found(file, path, label)
        with suppress(OSError):
            status = file.stat()
            found[path] = Found(file, path, label, status.st_size, status.st_mtime_ns)
    return [found[path] for path in sorted(found)]


def _find_remote(folder: Location, *, labels: bool) -> list[Found]:
    found = []
    for file, path in find_files([folder]).items():
        label = PurePosixPath(folder.name, path).parent.name if labels else ""
        status = file.status if isinstance(file, RemotePicture) else None
        found.append(Found(file, path, label, *(status or ())))
    return found


def add_known(found: Sequence[Found], known: Known, contents: Contents) -> list[Found]:
    """Add the pictures whose embeddings are known to the contents, and return the others."""
    new = []
    for picture in found:
        match = known.find(picture)
        if match is None:
            new.append(picture)
        else:
            contents.add(picture, *match)
    return new


def embed_new(
    new: Sequence[Found],
    contents: Contents,
    embed: Embed,
    partial: Partial,
    report: Callable[[int], None],
) -> None:
    """Embed pictures, and add them to the contents, or the reason why they have no embedding.

    Args:
        new: the pictures.
        contents: what is added to.
        embed: called in several threads at once.
        partial: where every batch is stored as soon as it is complete.
        report: called with the number of pictures that are done after each batch.
    """
    batches = [new[start : start + BATCH] for start in range(0, len(new), BATCH)]
    count = 0
    for batch, rows in _in_threads(lambda batch: _embed_batch(batch, embed), batches):
        done = []
        for found, row in zip(batch, rows, strict=True):
            if "problem" in row:
                contents.skipped[found.path] = row["problem"]
            else:
                contents.add(found, row["picture"], row["vector"])
                done.append(contents.rows[found.path])
        if done:
            partial.add([picture for picture, _ in done], np.stack([vector for _, vector in done]))
        count += len(batch)
        report(count)


def _embed_batch(batch: Sequence[Found], embed: Embed) -> list[Row]:
    def ask(files: Sequence[bytes]) -> list[Row]:
        vectors = unit(embed(files))
        return [_row(content, vector) for content, vector in zip(files, vectors, strict=True)]

    return ask_batch([found.file for found in batch], ask)


def _row(content: bytes, vector: Floats) -> Row:
    if not (np.isfinite(vector).all() and vector.any()):
        return {"problem": "the model gives it no embedding that can be compared."}
    width, height = source_size(content)
    digest = hashlib.sha256(content).hexdigest()
    return {
        "picture": IndexedPicture("", "", width, height, digest, len(content), 0),
        "vector": vector,
    }


def _in_threads(
    work: Callable[[Sequence[Found]], list[Row]], batches: Sequence[Sequence[Found]]
) -> Iterator[tuple[Sequence[Found], list[Row]]]:
    """Yield each batch with its result, in order. If the caller stops, no further batch begins."""
    with ThreadPoolExecutor(cores(), thread_name_prefix="vitrine-index") as pool:
        try:
            yield from zip(batches, pool.map(work, batches), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)
