"""Disks that are full or read-only: on file systems of a few megabytes, in memory."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from serving.faces.gallery import Gallery
from serving.feedback.store import FeedbackStore
from serving.problems import RequestError
from tests import disks
from tests.disks import fill, read_only
from tests.serving.faces.test_erasure import bytes_of
from tests.serving.faces.test_gallery import MODEL, enrol, face, picture
from tests.serving.feedback.conftest import VERSION
from tests.serving.feedback.test_store import said

MEGABYTES = 120


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own."""
    with disks.small_disk(tmp_path / "disk", MEGABYTES) as folder:
        yield folder


def noise(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def test_a_person_can_be_erased_when_the_disk_is_full(small_disk: Path) -> None:
    store = small_disk / "gallery.sqlite3"
    gallery = Gallery(str(store))
    contents = [noise(seed, 6_000_000) for seed in range(8)]
    for seed, content in enumerate(contents):
        gallery.writer.enrol("ada", MODEL, [picture("ada", face(seed), content)], "test")
    for seed in range(100, 160):
        enrol(gallery, "ada", seed)
    enrol(gallery, "bea", 1000)
    fill(small_disk)
    large = [picture("carl", face(1), noise(9, 6_000_000))]
    with pytest.raises(RequestError) as caught:
        gallery.writer.enrol("carl", MODEL, large, "test")
    assert caught.value.status == 503
    assert "is full" in str(caught.value)
    removal = gallery.writer.remove_person("ada", "test")
    assert removal.traces_erased
    assert (len(removal.pictures), removal.embeddings, removal.contents) == (68, 68, 8)
    left = bytes_of(store)
    samples = [content[i : i + 16] for content in contents for i in range(0, 6_000_000, 200_000)]
    assert not any(sample in left for sample in samples)
    assert not any(face(seed).tobytes()[:16] in left for seed in range(100, 160))
    assert gallery.reader.person("bea")[1]
    actions = [row.action for row in gallery.reader.changes(0, 10_000) if row.person == "ada"]
    assert actions.count("remove picture") == 68
    assert actions[-1] == "remove person"
    gallery.writer.remove_person("bea", "test")  # there is still a reserve, or what it left
    gallery.database.close()


def test_feedback_can_be_erased_when_the_disk_is_full(small_disk: Path) -> None:
    store = FeedbackStore(str(small_disk / "vitrine.sqlite3"))
    store.add_versions([VERSION])
    for number in range(8):
        kept = {"picture": "0" * 32, "content": noise(number, 6_000_000)}
        store.put(f"{number:032x}", said(**kept))
    fill(small_disk)
    assert store.erase([f"{0:032x}"]) == 1
    assert store.erase_traces()
    fill(small_disk)
    assert store.purge(datetime.now(UTC)) == 7
    assert list(store.rows()) == []
    store.close()


def test_without_a_reserve_it_is_said(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    (small_disk / "first").write_bytes(bytes((MEGABYTES - 20) * 1_000_000))
    gallery = Gallery(str(small_disk / "gallery.sqlite3"))
    enrol(gallery, "ada", 1)
    assert "no space can be reserved" in caplog.text
    gallery.database.close()


def test_a_read_only_folder_refuses_until_it_can_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "database"
    folder.mkdir()
    before = Gallery(str(folder / "gallery.sqlite3"))
    enrol(before, "ada", 1)
    before.database.close()
    after = Gallery(str(folder / "gallery.sqlite3"))
    with read_only(folder), pytest.raises(RequestError) as caught:
        enrol(after, "bea", 2)
    assert (caught.value.code, caught.value.passes) == ("gallery-unavailable", False)
    assert "cannot be opened or created" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    enrol(after, "bea", 2)  # it is opened without a restart
    assert [row.name for row in after.reader.people(0, 10)] == ["ada", "bea"]
    after.database.close()
