"""Pictures in stores are listed and read as those in folders are."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest

from artifacts.stores.location import Location, StoreError
from serving.__main__ import main
from serving.commands import remote
from serving.commands.remote import RemotePicture
from tests.commands import run_in_process
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph

ask = partial(run_in_process, main, "serving", "classify")
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
