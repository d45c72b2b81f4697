"""A server that is killed during an analysis, which then continues after the last answer."""

import csv
import re
import threading
import time
from pathlib import Path

import httpx
import pytest

from analysis import inputs
from tests.analysis.conftest import Run
from tests.server import Server, start_server

PICTURES = 60
DATA = ("--dataset", "synthetic/objects:test", "--limit", PICTURES)
QUESTIONS = 26
"""Of `robustness`: the pictures as they are, and five kinds of damage at five severities."""


def kill_after(server: Server, answers: Path, count: int) -> None:
    """Kill the server when `count` answers are stored, or after a time limit."""
    deadline = time.monotonic() + 120
    while len(kept(answers)) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    server.kill()


def kept(answers: Path) -> list[Path]:
    return [path for path in answers.glob("*") if not path.suffix]  # complete files


def pictures_read(server: Server) -> int:
    text = httpx.get(f"{server.address}/metrics").text
    found = re.search(r'^vitrine_pictures_total\{model="one"\} (\S+)$', text, re.MULTILINE)
    assert found, text
    return int(float(found[1]))


def table(folder: str) -> list[dict[str, str]]:
    with Path(folder, "robustness.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_server_costs_no_answer(
    look: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "RETRY_DELAYS", (0.1,))
    command = ("robustness", "--model", "one", *DATA)
    answers = tmp_path / "answers"

    server = start_server(tmp_path / "models", tmp_path / "first.txt")
    killer = threading.Thread(target=kill_after, args=(server, answers, 3))
    killer.start()
    try:
        ended = look(*command, "--url", server.address, "--answers", answers, "--out", "resumed")
    finally:
        killer.join()
    assert ended.status == 1
    assert "Trying again in 0.1 s" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: ")
    assert not Path("resumed").exists()
    answered = len(kept(answers))
    assert 3 <= answered < QUESTIONS

    server = start_server(tmp_path / "models", tmp_path / "second.txt")
    try:
        again = look(*command, "--url", server.address, "--answers", answers, "--out", "resumed")
        assert again.status == 0, again.err
        assert pictures_read(server) == (QUESTIONS - answered) * PICTURES
    finally:
        server.stop()
    assert look(*command, "--out", "undisturbed").status == 0
    resumed, undisturbed = table("resumed"), table("undisturbed")
    assert len(resumed) == QUESTIONS
    for one, other in zip(resumed, undisturbed, strict=True):
        assert float(one.pop("confidence")) == pytest.approx(float(other.pop("confidence")))
        assert one == other
