"""Models and a command line for the tests of `analysis`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from analysis.__main__ import main
from artifacts import datasets
from artifacts.commands import run_command
from tests.graphs import tiny_artifact


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_artifact(root)
    tiny_artifact(root, "ten", classes=tuple("abcdefghij"))
    return root


@pytest.fixture
def run(
    models_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `python -m analysis` with these arguments, in an empty folder."""
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(models_root))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["analysis", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            run_command(main, "python -m analysis")
        return Outcome(int(exit_.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def look(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, with a model `one` of the classes of synthetic/objects alone."""
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(tmp_path / "models", "one", classes=classes)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    return run
