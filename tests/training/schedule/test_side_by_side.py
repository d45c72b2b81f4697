"""Two small recipes train at once: failing, interrupted and continued."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from artifacts import Artifact
from tests.forks import ROOT
from tests.programs import Program
from training.recipe import load_recipe
from training.schedule import side_by_side
from training.schedule.plan import Item
from training.schedule.side_by_side import Outcome, train_side_by_side
from training.status import Status

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


def start(folder: Path, *names: str) -> Program:
    options = ("--profile", "smoke", "--jobs", "2")
    return Program("training", ["all", *names, *options], folder, environment(folder))


def ended(process: Program) -> tuple[int, str]:
    """Its exit status, and what it has printed."""
    done = process.wait(timeout=400)
    return done.status, done.out + done.err


@pytest.mark.timeout(900)
def test_two_recipes_are_interrupted_and_continue(tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs" / f"{GAP}-smoke" / "checkpoint.pt"
    process = start(tmp_path, GAP, MNIST)
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    status, out = ended(process)
    assert status == 130, out
    assert "the same command continues them" in out
    assert not (tmp_path / "models" / f"{GAP}-smoke").exists()
    assert checkpoint.exists()
    status, out = ended(start(tmp_path, GAP, MNIST))
    assert status == 0, out
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
    status, out = ended(start(tmp_path, str(broken), MNIST))
    assert status == 1, out
    assert "failed:" in out
    assert "Traceback" not in out
    assert Artifact.open(f"{MNIST}-smoke", tmp_path / "models").manifest.synthetic
    assert not (tmp_path / "models" / "broken-smoke").exists()
    assert "nothing" in (tmp_path / "runs" / "broken-smoke.log").read_text()


class Ended:
    """A process of a training that ends at once, or when it is told to stop."""

    made: ClassVar[list["Ended"]] = []

    def __init__(self, item: Item, jobs: int) -> None:
        self.item, self.recipe, self.stops, self.jobs = item, item.recipe, 0, jobs
        Ended.made.append(self)

    def stop(self) -> None:
        self.stops += 1

    def ended(self) -> Outcome | None:
        if self.stops:
            return Outcome("failed", "stopped")
        return Outcome("failed", "no") if self.recipe.name == "bad" else None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_once_and_starts_no_other(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(side_by_side, "Training", Ended)
    monkeypatch.setattr(Ended, "made", [])
    before = signal.getsignal(number)
    recipes = [replace(load_recipe(MNIST, "smoke"), name=name) for name in ("a", "b", "c", "d")]
    state = Status(current=False, reason="missing")
    items = [Item(recipe, state, None, None, "unknown", None, ()) for recipe in recipes]
    items[3] = replace(items[3], after=("c",))
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        train_side_by_side(items, 2)
    assert ended.type is (KeyboardInterrupt if number == signal.SIGINT else SystemExit)
    assert [each.recipe.name for each in Ended.made] == ["a", "b"]
    assert [each.stops for each in Ended.made] == [1, 1]
    assert "stopping 2 trainings" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_what_starts_from_a_head_that_failed_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_by_side, "Training", Ended)
    monkeypatch.setattr(Ended, "made", [])
    recipes = [replace(load_recipe(MNIST, "smoke"), name=name) for name in ("bad", "child")]
    state = Status(current=False, reason="missing")
    bad, child = (Item(recipe, state, None, None, "unknown", None, ()) for recipe in recipes)
    outcomes = train_side_by_side([bad, replace(child, after=("bad",))], 2)
    assert outcomes["child"].reason == "bad, from whose head it starts, was not trained"
    assert len(Ended.made) == 1
