"""`vitrine train watch` shows a run from the file that it writes, and ends with it."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.commands import run_in_process
from training import run_state
from training.__main__ import main
from training.commands import watch
from training.commands.watch import CURVE, curve
from training.history import Epoch
from training.run_state import STATE_FILE, RunProgress, RunState, running

ROW = Epoch(1, 0.1, 2.0, 0.3, 1.5, 0.4, 10.0, 1.0)
NOBODY = 2**22 + 1
"""A process id that Linux does not give."""


def state_in(folder: Path, **fields: object) -> RunState:
    folder.mkdir(parents=True, exist_ok=True)
    state = RunState(folder.name, 3, "accuracy", [ROW], 1 / 3, 125.0, updated=time.time())
    state.__dict__.update(fields)
    (folder / STATE_FILE).write_text(json.dumps(asdict(state)))
    return state


def test_a_run_writes_how_far_it_is(tmp_path: Path) -> None:
    about = RunState("mine", 2, "accuracy")
    with RunProgress(tmp_path, about, lambda epochs: epochs / 2, first=True) as report:
        report.update(0.25, "epoch 1/2")
        assert RunState.read(tmp_path).fraction == 0.25
        report.update(0.26, "epoch 1/2")  # too soon
        assert RunState.read(tmp_path).fraction == 0.25
        about.history.append(ROW)
        report.write(0.5)
    read = RunState.read(tmp_path)
    assert (read.history, read.fraction, read.alive) == ([ROW], 0.5, True)
    other = RunProgress(tmp_path / "other", about, report.share, first=False)
    other.write(1.0)  # another process of the same run
    assert not (tmp_path / "other").exists()


def test_only_runs_that_go_on_are_shown(tmp_path: Path) -> None:
    alive = state_in(tmp_path / "alive")
    state_in(tmp_path / "dead", pid=NOBODY)
    state_in(tmp_path / "silent", updated=time.time() - 2 * run_state.SILENT_SECONDS)
    state_in(tmp_path / "alive" / "part", updated=time.time() - 9)  # an earlier run of the process
    elsewhere = state_in(tmp_path / "elsewhere", host="another", pid=NOBODY)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / STATE_FILE).write_text('{"name"')
    assert running(tmp_path) == [alive, elsewhere]


def test_watching_ends_when_the_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "mine"
    states = [
        {},
        {},
        {"history": [ROW, ROW], "fraction": 2 / 3},
        {"fraction": 1.0},
        {"pid": NOBODY},
    ]
    state_in(folder, **states.pop(0))
    monkeypatch.setattr(watch.time, "sleep", lambda _: state_in(folder, **states.pop(0)))
    done = run_in_process(main, "training", "watch", "mine")
    start = "validation loss 1.5000, accuracy 0.4000, about 2 min left"
    assert done.out.splitlines() == [
        f"mine: 1 of 3 epochs, {start}",
        f"mine: 2 of 3 epochs, {start}",
        "mine: trained, and being measured and published",
        "No run is training any more.",
    ]
    assert (done.status, done.err, states) == (0, "", [])
    refused = run_in_process(main, "training", "watch")
    assert refused.status == 1
    assert refused.err.startswith("error: nothing is training under")


def test_a_terminal_shows_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")
    folder = tmp_path / "runs" / "mine"
    state_in(folder, history=[ROW, Epoch(2, 0.1, 1.0, 0.5, 1.0, 0.6, 10.0, 1.0)])
    monkeypatch.setattr(watch.time, "sleep", lambda _: state_in(folder, pid=NOBODY))
    shown = run_in_process(main, "training", "watch").out
    assert "validation accuracy" in shown
    assert curve([0.4, 0.6]) in shown


def test_a_curve_is_as_wide_as_it_may_be() -> None:
    assert curve([0, 7, 3.5]) == "▁█▅"
    assert curve([1.0, 1.0]) == "▁▁"
    assert curve([float("nan")]) == ""
    long = curve(range(1000))
    assert len(long) <= CURVE
    assert long[-1] == "█"
