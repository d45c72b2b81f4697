"""The gallery as a file: what comes back, and what is no gallery."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.faces import parquet
from serving.faces.gallery import Gallery
from serving.faces.parquet import SCHEMA
from serving.inference.served_model import ServedModel
from serving.problems import RequestError
from tests.graphs import face_artifact
from tests.serving.faces.test_gallery import face, picture

D = 16


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    return ServedModel(face_artifact(tmp_path / "models"))


def row(served: ServedModel, **fields: Any) -> dict[str, Any]:
    return {
        "person": "p",
        "picture": "0" * 32,
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "aligned": True,
        "content": None,
        "model": served.artifact.hash,
        "embedding": face(1, D).tolist(),
        **fields,
    }


def file_of(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> BytesIO:
    file = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    file.seek(0)
    return file


def test_a_file_restores_the_gallery(
    gallery: Gallery, model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_SIZE", 7)
    for person in range(10):
        new = [picture(f"p{person}", face(10 * person + i, D), bytes([i])) for i in range(3)]
        gallery.writer.enrol(f"p{person}", model.artifact.hash, new, "test")
    file = BytesIO(b"".join(parquet.write(gallery)))
    table = pq.read_table(file)
    assert table.num_rows == 30
    assert table["person"].to_pylist() == [f"p{i // 3}" for i in range(30)]
    expected = np.stack([face(10 * (i // 3) + i % 3, D) for i in range(30)])
    assert np.array_equal(np.stack(table["embedding"].to_numpy()), expected)
    other = Gallery(str(tmp_path / "other.sqlite3"))
    for added in (30, 0):
        answer = parquet.read(other, file, model, "test")
        assert (answer.added, answer.present) == (added, 30 - added)
    (found,) = other.search(face(52, D), model.artifact.hash, "euclidean", 1)
    assert (found.person, found.distance) == ("p5", 0.0)
    assert other.reader.person("p5")[1] == gallery.reader.person("p5")[1]
    again = b"".join(parquet.write(other))
    assert pq.read_table(BytesIO(again)).equals(table)
    other.database.close()


def test_an_empty_gallery_is_a_file_too(gallery: Gallery, model: ServedModel) -> None:
    file = BytesIO(b"".join(parquet.write(gallery)))
    assert pq.read_table(file).num_rows == 0
    assert parquet.read(gallery, file, model, "test").added == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"person": "a/b"}, "bad-person"),
        ({"person": ""}, "bad-person"),
        ({"picture": "../../etc"}, "bad-gallery-file"),
        ({"model": "f" * 64}, "another-model"),
        ({"embedding": [1.0] * (D - 1)}, "bad-gallery-file"),
        ({"embedding": [float("nan")] * D}, "bad-gallery-file"),
        ({"embedding": [None] * D}, "bad-gallery-file"),
    ],
)
def test_a_row_that_cannot_be_leaves_all_out(
    gallery: Gallery, model: ServedModel, fields: dict[str, Any], code: str
) -> None:
    rows = [row(model, person="good", picture="1" * 32), row(model, **fields)]
    with pytest.raises(RequestError) as caught:
        parquet.read(gallery, file_of(rows), model, "test")
    assert caught.value.code == code
    assert gallery.reader.state()[1:] == (0, 0, 0)


def test_what_is_no_gallery(gallery: Gallery, model: ServedModel) -> None:
    good = file_of([row(model)]).getvalue()
    foreign = file_of([{"a": 1}], pa.schema([("a", pa.int64())])).getvalue()
    for content in (b"", b"junk" * 100, good[:-20], good[:50] + b"\0" * 200 + good[250:], foreign):
        with pytest.raises(RequestError) as caught:
            parquet.read(gallery, BytesIO(content), model, "test")
        assert caught.value.code == "bad-gallery-file"
    assert parquet.read(gallery, BytesIO(good), model, "test").added == 1
