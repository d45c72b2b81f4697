"""Embeddings of a run that is not complete yet, so that an interrupted run can be resumed."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np

from serving.indexes.search import Floats
from serving.indexes.stored import IndexedPicture

PARTIAL = ".partial"
SUFFIX = ".npz"


class Partial:
    """A folder with one file for each batch of pictures; each file is written whole.

    Args:
        indexes: the folder of the model's indexes.
        name: of the index.
        model: identifies the model's graph and its input policy. What another one has left is not
            read.
    """

    def __init__(self, indexes: Path, name: str, model: str) -> None:
        self._of_index = indexes / PARTIAL / name
        self._folder = self._of_index / model

    def add(self, pictures: Sequence[IndexedPicture], vectors: Floats) -> None:
        """Store N pictures with their embeddings, N x D."""
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = json.dumps([asdict(picture) for picture in pictures])
        name = uuid4().hex
        unfinished = self._folder / f"{name}.tmp"
        with unfinished.open("wb") as file:
            np.savez(file, rows=np.array(rows), vectors=vectors)
        unfinished.replace(self._folder / f"{name}{SUFFIX}")

    def read(self) -> Iterator[tuple[list[IndexedPicture], Floats]]:
        """Yield what was stored; files that cannot be read are passed over."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(OSError, ValueError, LookupError, TypeError, BadZipFile):
                with np.load(path, allow_pickle=False) as arrays:
                    rows, vectors = json.loads(str(arrays["rows"])), arrays["vectors"]
                yield [IndexedPicture(**row) for row in rows], vectors

    def remove(self) -> None:
        """Remove everything, also of other models."""
        shutil.rmtree(self._of_index, ignore_errors=True)
        with suppress(OSError):  # other indexes are being made
            self._of_index.parent.rmdir()
