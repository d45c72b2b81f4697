"""Indexes of pictures: exact and approximate search, and the format on disk."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from artifacts import ArtifactError, InputPolicy
from serving.indexes.manifest import (
    MANIFEST_FILE,
    IndexManifest,
    index_names,
    indexes_of,
    read_manifest,
)
from serving.indexes.partial import Partial
from serving.indexes.search import Floats, VectorIndex, unit
from serving.indexes.stored import (
    INDEX_FILE,
    PICTURES_FILE,
    IndexedPicture,
    StoredIndex,
    save_index,
)

MANIFEST = IndexManifest(
    name="album",
    model="tiny@2",
    hash="0" * 64,
    input=InputPolicy(native_side=(16, 64)),
    source="/pictures",
    created=datetime(2026, 1, 1, tzinfo=UTC),
    command="vitrine index /pictures",
)


def vectors(count: int, dimension: int = 24) -> Floats:
    """Return vectors of length 1 in clusters, as embeddings are."""
    random = np.random.default_rng(count)
    centres = random.normal(size=(20, dimension))
    return unit(centres[random.integers(20, size=count)] + random.normal(size=(count, dimension)))


def pictures(count: int) -> list[IndexedPicture]:
    digests = [hashlib.sha256(bytes([i])).hexdigest() for i in range(count)]
    return [
        IndexedPicture(f"ä/鳥 {i}.png", f"label {i}", 10 + i, 20, digest, 1000, 10**18 + i)
        for i, digest in enumerate(digests)
    ]


def test_small_indexes_are_searched_exactly() -> None:
    stored, queries = vectors(500), 7 * vectors(30)
    index = VectorIndex.build(stored)
    assert index.exact
    rows, similarities = index.search(queries, 5)
    cosines = unit(queries) @ stored.T
    np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1)[:, :5])
    np.testing.assert_allclose(similarities, -np.sort(-cosines, axis=1)[:, :5], atol=1e-6)
    assert index.search(queries, 1000)[0].shape == (30, 500)
    np.testing.assert_array_equal(index.vectors(), stored)


def test_large_indexes_find_nearly_what_exact_ones_find() -> None:
    stored, queries = vectors(5000), vectors(100)
    exact = VectorIndex.build(stored)
    approximate = VectorIndex.build(stored, max_exact=1000)
    assert (exact.exact, approximate.exact) == (True, False)
    np.testing.assert_array_equal(approximate.vectors(), stored)
    for count in (10, 200):
        true, found = (index.search(queries, count)[0] for index in (exact, approximate))
        shared = [np.isin(t, f).mean() for t, f in zip(true, found, strict=True)]
        assert np.mean(shared) >= 0.97
    assert approximate.recall() >= 0.97


def test_the_same_vectors_give_the_same_file(tmp_path: Path) -> None:
    for exact in (10**6, 0):
        contents = []
        for name in "ab":
            VectorIndex.build(vectors(2000), max_exact=exact).write(tmp_path / name)
            contents.append((tmp_path / name).read_bytes())
        assert contents[0] == contents[1]
        read = VectorIndex.read(tmp_path / "a")
        built = VectorIndex.build(vectors(2000), max_exact=exact)
        assert read.exact == built.exact
        for one, other in zip(read.search(vectors(9), 4), built.search(vectors(9), 4), strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows, embeddings = pictures(9), vectors(9)
    save_index(MANIFEST, rows, embeddings, {"bad.jpg": "no, picture\n"}, tmp_path)
    assert index_names("tiny@2", tmp_path) == ["album"]
    assert index_names("tiny", tmp_path) == []
    folder = indexes_of("tiny@2", tmp_path) / "album"
    index = StoredIndex.open(folder)
    assert index.pictures() == rows
    assert index.picture(3) == ("ä/鳥 3.png", "label 3")
    assert index.skipped() == {"bad.jpg": "no, picture\n"}
    np.testing.assert_array_equal(index.vectors.vectors(), embeddings)
    assert index.manifest == read_manifest(folder)
    assert (index.manifest.pictures, index.manifest.dimension) == (9, 24)
    assert index.manifest.exact
    save_index(MANIFEST, rows[:2], embeddings[:2], {}, tmp_path)
    assert StoredIndex.open(folder).pictures() == rows[:2]
    np.testing.assert_array_equal(index.vectors.vectors(), embeddings)  # still mapped
    assert [path.name for path in folder.parent.iterdir()] == ["album"]


@pytest.mark.parametrize("file", [INDEX_FILE, PICTURES_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_index_is_refused(tmp_path: Path, file: str, damage: str) -> None:
    save_index(MANIFEST, pictures(3), vectors(3), {}, tmp_path)
    path = indexes_of("tiny@2", tmp_path) / "album" / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.unlink()
    with pytest.raises(ArtifactError, match=r"index 'album' of tiny@2 .* `vitrine index`"):
        StoredIndex.open(path.parent)


def test_nothing_is_left_of_an_index_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        save_index(MANIFEST, pictures(2), vectors(3), {}, tmp_path)
    assert list(indexes_of("tiny@2", tmp_path).iterdir()) == []


def test_batches_of_an_incomplete_run_are_kept(tmp_path: Path) -> None:
    partial = Partial(tmp_path, "album", "one")
    rows, embeddings = pictures(4), vectors(4)
    partial.add(rows[:3], embeddings[:3])
    partial.add(rows[3:], embeddings[3:])
    (next((tmp_path / ".partial" / "album" / "one").iterdir()).parent / "x.npz").write_bytes(b"PK")
    found = dict(
        pair
        for batch, stored in partial.read()
        for pair in zip(batch, map(tuple, stored.tolist()), strict=True)
    )
    assert found == dict(zip(rows, map(tuple, embeddings.tolist()), strict=True))
    assert list(Partial(tmp_path, "album", "other").read()) == []
    Partial(tmp_path, "album", "other").remove()
    assert list(tmp_path.iterdir()) == []
