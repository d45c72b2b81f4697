"""The command line, through the function that `python -m artifacts` calls."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from artifacts.__main__ import main
from artifacts.commands import run_command


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "models"
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    return path


@pytest.fixture
def cli(
    root: Path,  # noqa: ARG001  the commands find it in the environment
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["artifacts", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_command(main, "python -m artifacts")
        captured = capsys.readouterr()
        return Done(int(str(end.value.code)), captured.out, captured.err)

    return run


def assert_refused(done: Done, message: str, status: int = 1) -> None:
    assert done.status == status, done
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
