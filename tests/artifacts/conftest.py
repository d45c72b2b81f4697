"""The command line, through the function that `python -m artifacts` calls."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from artifacts.__main__ import main
from tests.commands import Done, run_in_process

Cli = Callable[..., Done]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "models"
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    return path


@pytest.fixture
def cli(root: Path) -> Cli:  # noqa: ARG001  the commands find it in the environment
    return partial(run_in_process, main, "artifacts")


def assert_refused(done: Done, message: str, status: int = 1) -> None:
    assert done.status == status, done
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
