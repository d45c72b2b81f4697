"""The benchmark of a GPU host: on a CPU, with a simulated card, and against its deadlines."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from artifacts.provenance import has_gpu
from benchmarks import gpu_training
from benchmarks.card import Card, watched
from benchmarks.gpu_rows import Budget, Row, Table
from benchmarks.gpu_training import Job, Pictures
from benchmarks.peers.model import load
from tests.forks import python
from tests.graphs import tiny_artifact
from tests.programs import PRELOADED

ROOT = Path(__file__).parents[2]
MNIST = "mnist-relu-cross-entropy-sgd"
FEW = Pictures("few", 10, (28, 28), 300, 100, 100)


@pytest.fixture
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have trainings find torch imported."""
    monkeypatch.setattr(sys, "executable", python(PRELOADED))


@pytest.mark.timeout(1000)
def test_it_measures_everything_on_a_cpu(tmp_path: Path) -> None:
    options = [
        "--smoke",
        "--minutes",
        "15",
        "--recipe",
        MNIST,
        "--side",
        "32",
        "--server",
        "Vitrine",
    ]
    options += ["--server", "FastAPI", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.gpu", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["missing"] == []
    rows = content["rows"]
    assert [row["part"] for row in rows] == (
        ["training", "publishing"] + ["in process"] * 5 + ["HTTP"] * 4
    )
    assert all(row["seconds"] >= 0 for row in rows[:2])
    assert all(row["pictures_per_second"] > 0 and row["p99"] >= row["p50"] for row in rows[2:])
    served = {(row["system"], row["load"]): row["errors"] for row in rows[7:]}
    assert served == {
        (f"{server}, default", f"{count} connections"): 0
        for server in ("Vitrine", "FastAPI")
        for count in (1, 8)
    }
    assert all(row["host_mb"] > 50 for row in rows if row["part"] != "publishing")
    if not has_gpu():
        assert "NO GPU IN USE" in done.stderr
        assert content["facts"]["card"] == "not measured"
        assert all(row["card_busy"] is None for row in rows)
    assert (tmp_path / "gpu.md").read_text() in done.stdout
    with (tmp_path / "gpu.csv").open(newline="") as file:
        assert [row["load"] for row in csv.DictReader(file)] == [row["load"] for row in rows]


def test_what_the_time_is_too_short_for_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--minutes", "0.03"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--recipe", MNIST, "--side", "32", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert time.monotonic() - begun < 60
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"] == []
    assert f"- training and publishing, {MNIST}: the time was up" in done.stdout
    assert "- in process and HTTP, cifar10-fast at 32 px: the time was up" in done.stdout


def test_unknown_names_are_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--side", "100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--side 100 is unknown; choose of 224, 32." in done.stderr


@pytest.mark.usefixtures("_forks")
def test_a_recipe_is_trained_on_generated_pictures(tmp_path: Path) -> None:
    job = Job(MNIST, FEW, 2, ("data.size=[28, 28]",))
    outcome = gpu_training.train(job, "cpu", tmp_path, 240, None)
    assert outcome.failure == ""
    assert len(outcome.epochs) == 2
    assert outcome.publishing is not None
    training, publishing = gpu_training.rows(job, "cpu", outcome)
    assert training.load == "epoch of 200 pictures"
    assert training.pictures_per_second == pytest.approx(200 / training.seconds)
    assert publishing.part == "publishing"
    assert (tmp_path / "artifacts" / f"gpu-{MNIST}" / "manifest.json").exists()


@pytest.mark.usefixtures("_forks")
def test_why_nothing_was_published_is_told(tmp_path: Path) -> None:
    job = Job(MNIST, FEW, 1, ("data.size=[28, 28]", "data.validation=300"))
    outcome = gpu_training.train(job, "cpu", tmp_path, 240, None)
    assert "300 of 300 pictures cannot be held out" in outcome.failure
    assert gpu_training.rows(job, "cpu", outcome) == []


class Simulated:
    """A card of which every reading differs, as NVML tells it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        for name, value in vars(type(self)).items():
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, value.__get__(self))

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        return f"Card {handle}"

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.1"

    def nvmlDeviceGetMemoryInfo(self, _: Any) -> Any:  # noqa: N802
        self.reads += 1
        return SimpleNamespace(used=self.reads * 1_000_000_000)

    def nvmlDeviceGetUtilizationRates(self, _: Any) -> Any:  # noqa: N802
        if self.reads > 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=self.reads * 40)


@pytest.mark.parametrize(("visible", "name"), [("", "0"), ("3,1", "3"), ("GPU-ab", "GPU-ab")])
def test_the_card_that_is_used_is_read(
    monkeypatch: pytest.MonkeyPatch, visible: str, name: str
) -> None:
    simulated = Simulated(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if not visible:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    card = Card.find()
    assert card is not None
    assert (card.name, card.driver) == (f"Card {name}", "580.1")
    with watched(psutil.Process(), card) as use:
        while simulated.reads < 4:
            time.sleep(0.01)
    assert use.card_mb == 1000 * simulated.reads
    assert use.card_busy == 60  # of two readings; the others failed
    assert use.host_mb is not None


@pytest.mark.skipif(has_gpu(), reason="there is a card")
def test_without_a_card_nothing_is_read() -> None:
    assert Card.find() is None
    with watched(psutil.Process(), None) as use:
        pass
    assert (use.card_mb, use.card_busy) == (None, None)


@pytest.mark.skipif(has_gpu(), reason="the provider runs here")
def test_a_peer_does_not_fall_back_to_another_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = tiny_artifact(tmp_path, "tiny")
    monkeypatch.setenv("BENCHMARK_MODEL", str(artifact.model_path))
    load()
    monkeypatch.setenv("BENCHMARK_PROVIDER", '["CUDAExecutionProvider", {"use_tf32": "0"}]')
    with pytest.raises(RuntimeError, match="CUDAExecutionProvider does not run here"):
        load()


def test_the_table_is_written_as_it_grows(tmp_path: Path) -> None:
    table = Table(tmp_path, {"host": "a"}, Budget(60))
    table.add(Row("HTTP", "net", "a | b", "8 connections", 1234.5, p50=0.1234, card_busy=40.0))
    table.miss("HTTP, net", "the time was up")
    text = (tmp_path / "gpu.md").read_text()
    cells = ["HTTP", "net", "a \\| b", "8 connections", "1,234", "", "0.123", "", "", ""]
    assert f"| {' | '.join([*cells, 'not measured', '40', ''])} |" in text.splitlines()
    assert "- HTTP, net: the time was up" in text
