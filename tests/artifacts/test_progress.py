"""What long work reports: lines in a log, a bar on a terminal."""

import io
import time

import pytest
from rich.console import Console

from artifacts import progress
from artifacts.progress import Progress, duration, track


def log() -> tuple[io.StringIO, Console]:
    text = io.StringIO()
    return text, Console(file=text, force_terminal=False, width=40)


def test_a_log_gets_one_line_at_the_first_step_and_then_regularly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    text, console = log()
    with Progress("pets", console=console) as report:
        report.update(0.25, "epoch 1/4, loss 0.5")
        first = text.getvalue()
        time.sleep(0.2)  # one step that takes long: the lines come nevertheless
    assert first.startswith("pets: 25 %, epoch 1/4, loss 0.5, about ")
    assert first.count("\n") == 1, "a long line is not wrapped"
    lines = text.getvalue().splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("pets: 25 %") for line in lines)
    time.sleep(0.1)
    assert text.getvalue().splitlines() == lines, "nothing is reported after the end"


def test_many_quick_steps_make_one_line() -> None:
    text, console = log()
    assert list(track(range(1000), "counting", console=console)) == list(range(1000))
    assert text.getvalue() == "counting: 0 %, 0 of 1,000, 0 s so far\n"


def test_items_without_a_length_are_counted() -> None:
    text, console = log()
    assert list(track(iter("ab"), "reading", console=console)) == ["a", "b"]
    assert text.getvalue() == "reading: 0, 0 s so far\n"


def test_the_time_left_ignores_what_an_earlier_run_did(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("pets", start=0.5, shown=False) as report:
        report.update(0.5)
        assert report.left() is None
        now += 60
        report.update(0.6)
        assert report.left() == pytest.approx(240)


def test_a_terminal_shows_nested_bars_and_keeps_the_lines() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with Progress("outer", console=console) as outer:
        outer.update(0.5, "candidate 2")
        for _ in track(range(2), "inner", console=console):
            outer.log("a [line] that stays")
    assert Progress._bars is None
    shown = text.getvalue()
    assert all(word in shown for word in ("outer", "candidate 2", "inner", "a [line] that stays"))


def test_a_process_that_does_not_report_prints_nothing() -> None:
    text, console = log()
    with Progress("pets", shown=False, console=console) as report:
        report.update(0.5, "epoch 1")
        report.log("a line")
    assert text.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (11_100, "3 h 5 min")],
)
def test_durations_are_said_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
