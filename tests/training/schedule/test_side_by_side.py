"""Two small recipes train at once: failing, interrupted and continued."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifacts import Artifact

ROOT = Path(__file__).parents[3]
GAP, MNIST = "cifar10-gap", "mnist-relu-cross-entropy-sgd"


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(folder / "models"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "VITRINE_CHECKPOINT_SECONDS": "0.01",
    }


def start(folder: Path, *names: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "training", "all", *names, "--profile", "smoke"]
    return subprocess.Popen(
        [*command, "--jobs", "2"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(condition: Path, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition.exists():
        assert time.monotonic() < deadline, f"{condition} is not there"
        time.sleep(0.02)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_recipes_are_interrupted_and_continue(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, GAP, MNIST)
    try:
        until(tmp_path / "runs" / f"{GAP}-smoke" / "checkpoint.pt")
        process.send_signal(number)
        out, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "the same command continues them" in out
    assert not (tmp_path / "models" / f"{GAP}-smoke").exists()
    assert (tmp_path / "runs" / f"{GAP}-smoke" / "checkpoint.pt").exists()
    again = start(tmp_path, GAP, MNIST)
    out, _ = again.communicate(timeout=400)
    assert again.returncode == 0, out
    assert f"{GAP}-smoke: continuing after" in out
    for name in (GAP, MNIST):
        assert Artifact.open(f"{name}-smoke", tmp_path / "models").manifest.synthetic
        assert (tmp_path / "runs" / f"{name}-smoke.log").read_text()


@pytest.mark.timeout(900)
def test_a_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    text = (ROOT / "training" / "recipes" / "cifar10-gap.yaml").read_text()
    broken.write_text(text.replace("name: cifar10\n", "name: image_folder/nothing\n"))
    broken.write_text(broken.read_text().replace("synthetic/objects", "image_folder/nothing"))
    process = start(tmp_path, str(broken), MNIST)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 1, out
    assert "failed:" in out
    assert "Traceback" not in out
    assert Artifact.open(f"{MNIST}-smoke", tmp_path / "models").manifest.synthetic
    assert not (tmp_path / "models" / "broken-smoke").exists()
    assert "nothing" in (tmp_path / "runs" / "broken-smoke.log").read_text()
