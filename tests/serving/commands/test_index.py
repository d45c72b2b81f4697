"""`vitrine index` and `vitrine neighbours` on files, with and without a server."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from artifacts import Artifact
from serving.__main__ import main
from serving.client import LocalPredictor
from serving.commands.indexing import BATCH
from serving.indexes.manifest import indexes_of, read_manifest
from serving.indexes.stored import PICTURES_FILE, StoredIndex
from tests.commands import Done, run_in_process
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import ROOT, running_server

COUNT = 12


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the artifacts, with one model."""
    folder = tmp_path / "models"
    tiny_artifact(folder, "tiny")
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(folder))
    return folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pictures in two folders with names of several scripts, and files that are none."""
    folder = tmp_path / "My Album"
    for i in range(COUNT):
        place = folder / ("Größe" if i % 2 else "鳥")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"père {i}.png").write_bytes(encoded(photograph(20 + i, 24, i)))
    (folder / "bad.jpg").write_bytes(b"junk")
    (folder / "notes.txt").write_text("no picture")
    return folder


def index(*arguments: object) -> Done:
    return run_in_process(main, "serving", "index", *arguments)


def opened(root: Path, name: str = "my-album") -> StoredIndex:
    return StoredIndex.open(indexes_of("tiny", root) / name)


def test_a_folder_is_indexed(root: Path, album: Path) -> None:
    done = index(album, "--model", "tiny", "--labels")
    assert done.status == 0, done.err
    assert f"{COUNT} pictures in the index 'my-album' of tiny: {COUNT} embedded" in done.out
    assert "bad.jpg: its 4 bytes do not begin as a picture" in done.err
    assert "notes" not in done.err
    stored = opened(root)
    rows = stored.pictures()
    assert [row.path for row in rows] == sorted(
        f"{'Größe' if i % 2 else '鳥'}/père {i}.png" for i in range(COUNT)
    )
    assert {row.label for row in rows} == {"Größe", "鳥"}
    files = [album / row.path for row in rows]
    assert [(row.width, row.height) for row in rows] == [
        (20 + int(file.stem.split()[1]), 24) for file in files
    ]
    features = LocalPredictor().features("tiny", [file.read_bytes() for file in files])
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(stored.vectors.vectors(), expected, atol=1e-5)
    assert stored.manifest.hash == Artifact.open("tiny").hash
    assert stored.manifest.source == str(album)
    assert list(stored.skipped()) == ["bad.jpg"]
    table = pq.read_table(stored.path / PICTURES_FILE)
    assert {"path", "width", "height", "label", "sha256"} <= set(table.column_names)


def test_the_index_is_the_same_each_time(root: Path, album: Path) -> None:
    contents = []
    for _ in range(2):
        assert index(album, "--model", "tiny").status == 0
        contents.append(opened(root).manifest.files)
        shutil.rmtree(indexes_of("tiny", root))
    assert contents[0] == contents[1]


def test_only_what_changed_is_embedded_again(
    root: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(album, "--model", "tiny")
    sent: list[bytes] = []
    original = LocalPredictor.features

    def features(self: LocalPredictor, name: str, pictures: list[bytes]) -> object:
        sent.extend(pictures)
        return original(self, name, pictures)

    monkeypatch.setattr(LocalPredictor, "features", features)
    made = opened(root).manifest.created
    done = index(album, "--model", "tiny")
    assert f"nothing has changed: {COUNT} pictures" in done.out
    assert opened(root).manifest.created == made

    (album / "鳥" / "père 0.png").unlink()
    (album / "Größe" / "père 1.png").rename(album / "moved.png")
    os.utime(album / "Größe" / "père 3.png", (0, 0))
    changed = encoded(photograph(50, 30, 99))
    (album / "鳥" / "père 2.png").write_bytes(changed)
    new = encoded(photograph(40, 30, 98))
    (album / "new.png").write_bytes(new)
    done = index(album, "--model", "tiny")
    assert f"{COUNT} pictures" in done.out
    assert f"2 embedded, {COUNT - 2} known before, 2 removed" in done.out
    assert sorted(sent) == sorted([new, changed])
    paths = [row.path for row in opened(root).pictures()]
    assert "鳥/père 0.png" not in paths
    assert "Größe/père 1.png" not in paths
    assert {"moved.png", "new.png"} <= set(paths)
    incremental = opened(root).vectors.vectors()
    shutil.rmtree(indexes_of("tiny", root))
    index(album, "--model", "tiny")
    np.testing.assert_allclose(opened(root).vectors.vectors(), incremental, atol=1e-6)

    tiny_artifact(root, "tiny", classes=("left", "right", "up", "down"))
    sent.clear()
    done = index(album, "--model", "tiny")
    assert f"{COUNT} embedded, 0 known before" in done.out
    assert len(sent) == COUNT
    assert opened(root).manifest.fits(Artifact.open("tiny").manifest)


def test_labels_change_without_embedding(root: Path, album: Path) -> None:
    index(album, "--model", "tiny")
    assert {row.label for row in opened(root).pictures()} == {""}
    assert f"0 embedded, {COUNT} known" in index(album, "--model", "tiny", "--labels").out
    assert {row.label for row in opened(root).pictures()} == {"Größe", "鳥"}


def test_a_table_names_pictures_and_labels(root: Path, album: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(encoded(photograph(30, 30, 50)))
    rows = [("path", "label"), ("鳥/père 0.png", "owl"), (str(outside), ""), ("gone.png", "")]
    with (album / "list.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    done = index(album / "list.csv", "--model", "tiny")
    assert done.status == 0, done.err
    assert "gone.png: [Errno 2]" in done.err
    found = {row.path: row.label for row in opened(root, "list").pictures()}
    assert found == {"鳥/père 0.png": "owl", str(outside): ""}


def test_an_interrupted_run_is_resumed(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    count = 20 * BATCH
    for i in range(count):
        (folder / f"{i}.png").write_bytes(encoded(photograph(16 + i % 40, 16 + i // 40, i)))
    slow = (
        "import time, sys\n"
        "from serving.client import LocalPredictor\n"
        "ask = LocalPredictor.features\n"
        "def features(*arguments):\n"
        "    time.sleep(0.3)\n"
        "    return ask(*arguments)\n"
        "LocalPredictor.features = features\n"
        "from artifacts.commands import run_command\n"
        "from serving.__main__ import main\n"
        "run_command(main, 'vitrine')\n"
    )
    command = [sys.executable, "-c", slow, "index", str(folder), "--model", "tiny"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    partial = indexes_of("tiny", root) / ".partial" / "many"
    deadline = time.monotonic() + 120
    while len(list(partial.glob("*/*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert not (indexes_of("tiny", root) / "many").exists()
    done = index(folder, "--model", "tiny")
    embedded = int(done.out.split(" embedded")[0].rsplit(" ", 1)[1].replace(",", ""))
    assert 0 < embedded <= count - 3 * BATCH
    assert len(opened(root, "many").pictures()) == count
    assert not partial.exists()


def test_what_cannot_be_indexed_is_said(root: Path, album: Path, tmp_path: Path) -> None:
    index(album, "--model", "tiny")
    other = tmp_path / "other" / "My Album"
    shutil.copytree(album, other)
    done = index(other, "--model", "tiny")
    assert done.status == 1
    assert "is of" in done.err
    assert "--name" in done.err
    assert index(other, "--model", "tiny", "--name", "second").status == 0
    assert index(album, "--model", "tiny", "--name", "../x").status == 2
    assert index(album, "--model", "nobody").status == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no pictures" in index(empty, "--model", "tiny").err
    (empty / "bad.png").write_bytes(b"junk")
    done = index(empty, "--model", "tiny")
    assert done.status == 1
    assert "bad.png: its 4 bytes" in done.err
    (indexes_of("tiny", root) / "my-album" / PICTURES_FILE).write_bytes(b"")
    done = index(album, "--model", "tiny")
    assert "warning: the index 'my-album' of tiny cannot be read" in done.err
    assert done.status == 0


def test_names_that_are_not_utf8_are_skipped(root: Path, album: Path) -> None:
    (album / os.fsdecode(b"na\xefve.png")).write_bytes(encoded(photograph(20, 20)))
    done = index(album, "--model", "tiny")
    assert done.status == 0, done.err
    assert "na\ufffdve.png: the name is not UTF-8" in done.err
    assert len(opened(root).pictures()) == COUNT


def test_a_log_tells_how_much_time_is_left(root: Path, album: Path) -> None:
    done = index(album, "--model", "tiny")
    total = COUNT + 1
    first = f"embedding pictures: 100 %, {total} of {total}, about 0 s left"
    assert done.err.splitlines()[0] == first
    assert read_manifest(opened(root).path).pictures == COUNT


@pytest.fixture
def address(root: Path, tmp_path: Path) -> Iterator[str]:
    with running_server(root, tmp_path / "log.txt") as address:
        yield address


def test_a_server_embeds_and_finds(root: Path, album: Path, address: str, tmp_path: Path) -> None:
    assert index(album, "--model", "tiny", "--url", address).status == 0
    embedded = opened(root).vectors.vectors()
    shutil.rmtree(indexes_of("tiny", root))
    assert index(album, "--model", "tiny", "--labels").status == 0
    np.testing.assert_allclose(embedded, opened(root).vectors.vectors(), atol=1e-5)

    path = f"{address}/v1/models/tiny/neighbours"
    good = (album / "鳥" / "père 0.png").read_bytes()
    deadline = time.monotonic() + 60
    while httpx.post(path, content=good).status_code != 200:  # the server notices it by itself
        assert time.monotonic() < deadline
        time.sleep(0.2)
    httpx.post(f"{address}/v1/models:reload").raise_for_status()  # in all workers
    answers = []
    for more in ((), ("--url", address)):
        out = tmp_path / f"answers-{len(more)}.jsonl"
        arguments = (album, "--model", "tiny", "--top", 3, "--out", out, *more)
        done = run_in_process(main, "serving", "neighbours", *arguments)
        assert done.status == 1  # bad.jpg
        answers.append([json.loads(line) for line in out.read_text().splitlines()])
    for here, there in zip(*answers, strict=True):
        assert here.keys() == there.keys()
        assert here.get("neighbour_1") == there.get("neighbour_1")
    good = [row for row in answers[0] if "problem" not in row]
    assert len(good) == COUNT
    for row in good:
        assert str(album / row["neighbour_1"]) == row["path"]
        assert row["label_1"] == Path(row["path"]).parent.name
        assert row["similarity_1"] == pytest.approx(1, abs=1e-5)
        assert row["similarity_1"] >= row["similarity_2"] >= row["similarity_3"]
        assert row["index"] == "my-album"
