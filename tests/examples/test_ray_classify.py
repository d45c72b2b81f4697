"""The job for Ray gives the rows of `vitrine classify`, also when an actor is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
import pyarrow.dataset as ds
import pytest

from serving.__main__ import main
from tests.commands import run_in_process
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None,
    reason="Ray is not installed: pip install -c constraints.txt -e '.[ray]'",
)
ROOT = Path(__file__).parents[2]
PICTURES = 200
BATCH = 4
WORKERS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that take a while to decode, and one file that is none, in two folders."""
    root = tmp_path_factory.mktemp("ray")
    tiny_artifact(root / "models", "tiny")
    large = [encoded(photograph(900 + i, 1200, i)) for i in range(4)]
    for i in range(PICTURES - 1):
        place = root / "pictures" / ("a" if i % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(large[i % 4])
    (root / "pictures" / "bad.jpg").write_bytes(b"junk")
    return root


@pytest.fixture
def job(folder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The job, just started, on a Ray of its own with two actors; nothing outlives the test."""
    program = [sys.executable, str(ROOT / "examples" / "ray_classify.py")]
    program += [str(folder / "pictures"), str(tmp_path / "out"), "--model", "tiny"]
    program += ["--top", "2", "--batch", str(BATCH), "--workers", str(WORKERS)]
    settings = {
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(folder / "models"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": "/tmp",  # noqa: S108 - names of Unix sockets are short
    }
    process = subprocess.Popen(
        program,
        cwd=tmp_path,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        family = (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        )
        for each in family:
            each.kill()
        process.kill()
        process.wait()


def actors(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of the pool that have opened the model; Ray names them after their work."""
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        try:
            if each.name().startswith("ray::MapWorker") or any(
                word.startswith("ray::MapWorker") for word in each.cmdline()
            ):
                found.append(each)
        except psutil.NoSuchProcess:
            continue
    return found


def test_an_actor_is_killed_and_every_picture_has_one_row(
    folder: Path, tmp_path: Path, job: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out").glob("*.parquet")) and time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.02)
    pool = actors(job)
    assert len(pool) == WORKERS
    pool[0].send_signal(signal.SIGKILL)
    written = len(list((tmp_path / "out").glob("*.parquet")))
    assert written < PICTURES // BATCH / 2  # most of the work is still to be done
    pool[0].wait(10)
    output, _ = job.communicate(timeout=200)
    assert f"{PICTURES} pictures, 1 refused" in output, output
    assert job.returncode == 1
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
    ask = partial(run_in_process, main, "serving")
    ask("classify", folder / "pictures", "--top", 2, "--out", tmp_path / "whole.jsonl")
    expected = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    found = ds.dataset(tmp_path / "out").to_table().to_pylist()
    rows = [{k: v for k, v in row.items() if v is not None} for row in found]
    assert len(expected) == PICTURES
    assert sorted(rows, key=lambda row: row["path"]) == sorted(
        expected, key=lambda row: row["path"]
    )


def test_a_folder_with_answers_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "old.parquet").write_bytes(b"")
    program = [sys.executable, str(ROOT / "examples" / "ray_classify.py")]
    done = subprocess.run(
        [*program, str(folder / "pictures"), str(tmp_path), "--model", "tiny"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1
    assert "is not empty, and rows would be doubled; name a new folder." in done.stderr
    assert done.stdout == ""
