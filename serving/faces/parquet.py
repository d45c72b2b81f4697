"""The gallery as one Parquet file, for backups, for moving it, and for other tools."""

from collections.abc import Iterator
from io import RawIOBase
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from serving.faces.database import Change
from serving.faces.gallery import Gallery
from serving.faces.index import is_comparable
from serving.faces.names import check_person, is_picture_id
from serving.faces.operations import dimension, verification
from serving.faces.reader import MAX_SQL_PARAMETERS
from serving.faces.schemas import Imported
from serving.faces.tables import embeddings, gallery, people, pictures
from serving.faces.writer import NewPicture, add_pictures, bind_model, model_mismatch
from serving.inference.served_model import ServedModel
from serving.problems import RequestError

ROW_GROUP_SIZE = 2_000
"""Number of pictures in a row group; so many are read or written at a time."""
SCHEMA = pa.schema(
    [
        pa.field("person", pa.string(), nullable=False),
        pa.field("picture", pa.string(), nullable=False),
        pa.field("created", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("aligned", pa.bool_(), nullable=False),
        pa.field("content", pa.binary()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32()), nullable=False),
    ]
)
"""One row for each picture. `content` is the picture as sent, or null if pictures are not kept."""


def write(source: Gallery) -> Iterator[bytes]:
    """Yield the file in pieces. A change that is made meanwhile may be in it or not."""
    sink = _ChunkSink()
    after = 0
    with pq.ParquetWriter(sink, SCHEMA) as writer:
        while rows := _rows(source, after):
            after = rows[-1].number
            columns = [[getattr(row, name) for row in rows] for name in SCHEMA.names[:-1]]
            vectors = [np.frombuffer(row.vector, "<f4") for row in rows]
            arrays = [
                pa.array(values, field.type)
                for values, field in zip([*columns, vectors], SCHEMA, strict=True)
            ]
            writer.write_table(pa.table(arrays, schema=SCHEMA))
            yield sink.take()
    yield sink.take()


def read(target: Gallery, file: BinaryIO, model: ServedModel, actor: str) -> Imported:
    """Add the pictures of a file; pictures whose id is already in the gallery are left unchanged.

    The import is one transaction: either all pictures are added, or none.

    Args:
        target: the gallery to add to.
        file: a Parquet file as `write` makes it.
        model: the gallery's model; rows of another model are refused.
        actor: who asked for it, for the change log.

    Raises:
        RequestError: the file is not an export, has rows that a gallery cannot hold, or is of
            another model.
    """
    size = dimension(model)
    try:
        parquet = pq.ParquetFile(file)
        if not parquet.schema_arrow.remove_metadata().equals(SCHEMA):
            raise _bad_file(
                f"its columns are not {', '.join(SCHEMA.names)} with the types of an export"
            )
        with target.database.change() as change:
            bind_model(change, model.artifact.hash)
            added = present = 0
            for batch in parquet.iter_batches(ROW_GROUP_SIZE):
                rows = batch.to_pylist()
                _check_rows(rows, model, size)
                new = _not_enrolled(change, rows)
                add_pictures(change, new, model.artifact.hash, actor, "import")
                added, present = added + len(new), present + len(rows) - len(new)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _bad_file(f"it cannot be read ({str(error).splitlines()[0]})") from None
    return Imported(added=added, present=present, change=change.head)


def _rows(source: Gallery, after: int) -> list[Any]:
    query = (
        select(
            pictures.c.number,
            people.c.name.label("person"),
            pictures.c.id.label("picture"),
            pictures.c.created,
            pictures.c.aligned,
            pictures.c.content,
            embeddings.c.model,
            embeddings.c.vector,
        )
        .join(people, people.c.number == pictures.c.person)
        .join(embeddings, embeddings.c.picture == pictures.c.number)
        .join(gallery, gallery.c.model == embeddings.c.model)
        .where(pictures.c.number > after)
        .order_by(pictures.c.number)
        .limit(ROW_GROUP_SIZE)
    )
    with source.database.read() as connection:
        return list(connection.execute(query))


def _check_rows(rows: list[dict[str, Any]], model: ServedModel, size: int) -> None:
    metric = verification(model).metric
    for row in rows:
        row["person"] = check_person(row["person"])
        if not is_picture_id(row["picture"]):
            raise _bad_file(f"picture {row['picture']!r} is not 32 hexadecimal digits")
        if row["model"] != model.artifact.hash:
            raise model_mismatch(model.artifact.hash, row["model"])
        vector = np.array(row["embedding"], np.float32)
        if vector.shape != (size,) or not is_comparable(vector, metric):
            raise _bad_file(
                f"an embedding is not {size} finite numbers, or has no distance to others"
            )


def _not_enrolled(change: Change, rows: list[dict[str, Any]]) -> list[NewPicture]:
    """Return the pictures of the rows that are not in the gallery yet, each once."""
    by_id = {row["picture"]: row for row in rows}
    ids = list(by_id)
    for i in range(0, len(ids), MAX_SQL_PARAMETERS):
        known = select(pictures.c.id).where(pictures.c.id.in_(ids[i : i + MAX_SQL_PARAMETERS]))
        for name in change.connection.scalars(known):
            del by_id[name]
    return [
        NewPicture(
            person=row["person"],
            vector=np.array(row["embedding"], np.float32),
            aligned=row["aligned"],
            content=row["content"],
            id=name,
            created=row["created"],
        )
        for name, row in by_id.items()
    ]


class _ChunkSink(RawIOBase):
    """A writable file whose content is taken out while it is being written."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._waiting.append(content)
        self._position += len(content)
        return len(content)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        """Return what was written since the last call."""
        content = b"".join(self._waiting)
        self._waiting.clear()
        return content


def _bad_file(reason: str) -> RequestError:
    return RequestError(
        "bad-gallery-file",
        f"the file is not an exported gallery: {reason}. /v1/faces/export makes one.",
    )
