"""Pictures in stores are listed and read as those in folders are."""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import pytest

from artifacts.stores.location import FileStatus, Location, StoreError
from serving.__main__ import main
from serving.commands import remote
from serving.commands.remote import RemotePicture
from serving.indexes.manifest import indexes_of
from serving.indexes.stored import IndexedPicture, StoredIndex
from tests.commands import run_in_process
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph

ask = partial(run_in_process, main, "serving", "classify")
index = partial(run_in_process, main, "serving", "index")
FOLDER = "memory://pictures-of-tests"


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    tiny_artifact(tmp_path / "models")


@pytest.fixture(autouse=True)
def store() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    for i in range(20):
        files.pipe(f"{FOLDER}/{'ab'[i % 2]}/{i}.png", encoded(photograph(16, 20, i)))
    files.pipe(f"{FOLDER}/bad.jpg", b"junk")
    files.pipe(f"{FOLDER}/notes.txt", b"no picture")
    yield files
    files.rm(FOLDER, recursive=True)


def test_a_folder_of_a_store_answers_as_one_here(
    tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    store.get(FOLDER, str(tmp_path / "here"), recursive=True)
    there, here = (
        {row.pop("path"): row for row in csv.DictReader(done.out.splitlines())}
        for done in (ask(FOLDER), ask(tmp_path / "here"))
    )
    local = {f"{FOLDER}/{Path(p).relative_to(tmp_path / 'here')}": row for p, row in here.items()}
    assert there == local
    assert len(there) == 21
    assert there[f"{FOLDER}/bad.jpg"]["problem"]
    single = ask(f"{FOLDER}/a/0.png")
    assert single.status == 0
    (row,) = csv.DictReader(single.out.splitlines())
    assert row.pop("path") == f"{FOLDER}/a/0.png"
    assert row == there[f"{FOLDER}/a/0.png"]


def test_a_store_that_fails_ends_the_run_and_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = RemotePicture.read_bytes

    def fail(self: RemotePicture) -> bytes:
        if str(self).endswith("/9.png"):
            raise StoreError("the network is down")
        return read(self)

    out = tmp_path / "answers.csv"
    with monkeypatch.context() as patch:
        patch.setattr(RemotePicture, "read_bytes", fail)
        failed = ask(FOLDER, "--out", out)
    assert failed.err.endswith("error: the network is down\n")
    ask(FOLDER, "--out", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len({row["path"] for row in rows}) == len(rows) == 21
    assert [row["path"] for row in rows if row["problem"]] == [f"{FOLDER}/bad.jpg"]


def test_a_picture_that_is_too_large_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Location.of(f"{FOLDER}/a/0.png")
    monkeypatch.setattr(remote, "MAX_BYTES", len(place.read(1 << 20)) - 1)
    with pytest.raises(OSError, match="bytes allowed"):
        RemotePicture(place).read_bytes()


def test_an_empty_folder_is_named_by_its_url() -> None:
    done = ask("memory://nothing-of-tests")
    assert done.status == 1
    assert "in memory://nothing-of-tests." in done.err


def indexed(name: str) -> dict[str, IndexedPicture]:
    return {row.path: row for row in StoredIndex.open(indexes_of("tiny") / name).pictures()}


def test_a_folder_of_a_store_is_indexed_as_one_here(
    tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    store.get(FOLDER, str(tmp_path / "here"), recursive=True)
    for source in (FOLDER, tmp_path / "here"):
        done = index(source, "--model", "tiny", "--labels")
        assert done.status == 0, done.err
        assert "20 embedded" in done.out
        assert "bad.jpg: its 4 bytes" in done.err
    there, here = indexed("pictures-of-tests"), indexed("here")
    assert there.keys() == here.keys()
    for path, row in there.items():
        assert row == replace(here[path], modified=row.modified)
    assert {row.label for row in there.values()} == {"a", "b"}
    manifest = StoredIndex.open(indexes_of("tiny") / "pictures-of-tests").manifest
    assert manifest.source == FOLDER
    assert FOLDER in manifest.command


def test_only_what_changed_in_a_store_is_read_again(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(FOLDER, "--model", "tiny")
    before = indexed("pictures-of-tests")
    store.pipe(f"{FOLDER}/a/0.png", encoded(photograph(16, 20, 99)))
    store.rm(f"{FOLDER}/b/1.png")
    read, files = RemotePicture.read_bytes, []

    def counted(self: RemotePicture) -> bytes:
        files.append(str(self))
        return read(self)

    monkeypatch.setattr(RemotePicture, "read_bytes", counted)
    done = index(FOLDER, "--model", "tiny")
    assert "1 embedded, 18 known before, 1 removed" in done.out
    assert files == [f"{FOLDER}/a/0.png", f"{FOLDER}/bad.jpg"], "what was skipped is tried again"
    after = indexed("pictures-of-tests")
    assert after["a/0.png"].sha256 != before["a/0.png"].sha256


def test_a_store_that_says_nothing_of_its_files_is_read_again(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = dict.fromkeys(Location.of(FOLDER).below(), FileStatus(-1, -1))
    monkeypatch.setattr(Location, "below", lambda _: names)
    index(FOLDER, "--model", "tiny")
    store.pipe(f"{FOLDER}/a/0.png", encoded(photograph(16, 20, 99)))
    done = index(FOLDER, "--model", "tiny")
    assert "20 embedded, 0 known before" in done.out
    assert indexed("pictures-of-tests")["a/0.png"].size > 0


def test_the_state_of_a_file_is_read_from_any_store(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "one.txt"
    file.parent.mkdir()
    file.write_text("four")
    os.utime(file, (1_000, 1_000.5))
    listed = Location.of(f"file://{file.parent}").below()
    assert listed == {"one.txt": FileStatus(4, 1_000_500_000_000)}


def test_a_folder_that_is_not_there_is_refused() -> None:
    missing = index("no-such-folder", "--model", "tiny")
    assert missing.status == 1
    assert missing.err == "error: no-such-folder: no such file or folder.\n"
    assert "no pictures" in index("memory://nothing-of-tests", "--model", "tiny").err
