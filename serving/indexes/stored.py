"""An index of pictures on disk: written whole or not at all, and verified when it is opened.

The indexes of a model lie in the folder `.indexes/MODEL` beside the artifacts. Each is a folder:

- `index.faiss`: the embeddings, scaled to length 1, in the order of the rows of
- `pictures.parquet`: path, label, width, height, sha256, size in bytes and modification time;
- `skipped.csv`: the files that could not be read, and why;
- `index.json`: what made the index, and the hashes of these files.
"""

import csv
import hashlib
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.artifact import STAGING, remove_abandoned, replace_folder
from artifacts.distribution import artifacts_root, check_writable
from serving.indexes.manifest import (
    MANIFEST_FILE,
    IndexManifest,
    broken,
    indexes_of,
    read_manifest,
)
from serving.indexes.search import Floats, VectorIndex

INDEX_FILE = "index.faiss"
PICTURES_FILE = "pictures.parquet"
SKIPPED_FILE = "skipped.csv"


@dataclass(frozen=True)
class IndexedPicture:
    """One row of `pictures.parquet`."""

    path: str
    """Relative to the indexed folder, with `/`; absolute if the picture is not below it."""
    label: str
    """Empty if it is not known."""
    width: int
    """In pixels, as the file stores the picture, before it is turned upright."""
    height: int
    sha256: str
    """Of the file."""
    size: int
    """Of the file, in bytes."""
    modified: int
    """Time at which the file was last changed, in nanoseconds since 1970."""


COLUMNS = tuple(field.name for field in fields(IndexedPicture))
SCHEMA = pa.schema(
    [pa.field(f.name, pa.string() if f.type is str else pa.int64()) for f in fields(IndexedPicture)]
)


@dataclass(frozen=True)
class StoredIndex:
    """A verified index, whose vectors are mapped from its file."""

    path: Path
    manifest: IndexManifest
    vectors: VectorIndex
    shown: pa.Table
    """The columns `path` and `label`, row by row."""

    def picture(self, row: int) -> tuple[str, str]:
        """Return the path and the label of a row."""
        return self.shown["path"][row].as_py(), self.shown["label"][row].as_py()

    def pictures(self) -> list[IndexedPicture]:
        """Return all rows.

        Raises:
            ArtifactError: the file was removed or changed after the index was opened.
        """
        try:
            return _rows(pq.read_table(self.path / PICTURES_FILE, columns=[*COLUMNS]))
        except (OSError, pa.ArrowException) as error:
            raise broken(self.path, str(error)) from None

    def skipped(self) -> dict[str, str]:
        """Return why files have no embedding, by path.

        Raises:
            ArtifactError: the file that lists them was removed after the index was opened.
        """
        try:
            with (self.path / SKIPPED_FILE).open(encoding="utf-8", newline="") as file:
                return {row["path"]: row["problem"] for row in csv.DictReader(file)}
        except OSError as error:
            raise broken(self.path, str(error)) from None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open and verify the index in a folder.

        Raises:
            ArtifactError: the index is not complete, or a file has changed.
        """
        manifest = read_manifest(path)
        try:
            for name, expected in manifest.files.items():
                with (path / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                        raise broken(path, f"{name} has changed")
            vectors = VectorIndex.read(path / INDEX_FILE)
            shown = pq.read_table(path / PICTURES_FILE, columns=["path", "label"])
        except (OSError, RuntimeError, pa.ArrowException) as error:
            raise broken(path, str(error)) from None
        expected_shape = (manifest.pictures, manifest.dimension)
        if shown.num_rows != len(vectors) or (len(vectors), vectors.dimension) != expected_shape:
            raise broken(path, "its files have different numbers of pictures")
        return cls(path, manifest, vectors, shown)


def save_index(
    manifest: IndexManifest,
    pictures: Sequence[IndexedPicture],
    vectors: Floats,
    skipped: Mapping[str, str],
    root: Path | None = None,
) -> StoredIndex:
    """Build an index, write it, and replace an index of the same model and name.

    Args:
        manifest: `exact`, `recall`, `pictures`, `dimension`, `created` and `files` are filled in.
        pictures: N rows, at least one.
        vectors: their embeddings of length 1, N x D.
        skipped: why files have no embedding, by path.
        root: folder of the artifacts; `artifacts_root()` by default.

    Raises:
        ArtifactError: the folder belongs to an installed package.
    """
    check_writable(root or artifacts_root())
    parent = indexes_of(manifest.model, root)
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent, MANIFEST_FILE)
    index = VectorIndex.build(vectors)
    columns = [[getattr(picture, name) for picture in pictures] for name in COLUMNS]
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=parent)) / manifest.name
    try:
        staging.mkdir()
        index.write(staging / INDEX_FILE)
        pq.write_table(pa.table(columns, schema=SCHEMA), staging / PICTURES_FILE)
        (staging / SKIPPED_FILE).write_bytes(_csv(skipped))
        manifest = manifest.model_copy(
            update={
                "exact": index.exact,
                "recall": None if index.exact else index.recall(),
                "pictures": len(pictures),
                "dimension": index.dimension,
                "created": datetime.now(UTC),
                "files": {
                    file.name: hashlib.sha256(file.read_bytes()).hexdigest()
                    for file in sorted(staging.iterdir())
                },
            }
        )
        (staging / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1) + "\n")
        StoredIndex.open(staging)
        replace_folder(staging, parent / manifest.name)
    finally:
        shutil.rmtree(staging.parent, ignore_errors=True)
    return StoredIndex.open(parent / manifest.name)


def _rows(table: pa.Table) -> list[IndexedPicture]:
    columns = [table[name].to_pylist() for name in COLUMNS]
    return [IndexedPicture(*row) for row in zip(*columns, strict=True)]


def _csv(skipped: Mapping[str, str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "problem"), *sorted(skipped.items())])
    return text.getvalue().encode()
