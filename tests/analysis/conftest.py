"""Models and a command line for the tests of `analysis`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from analysis.__main__ import main
from artifacts import datasets
from tests.commands import Done, run_in_process
from tests.graphs import tiny_artifact

Run = Callable[..., Done]


@pytest.fixture(scope="session")
def models_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_artifact(root)
    tiny_artifact(root, "ten", classes=tuple("abcdefghij"))
    return root


@pytest.fixture
def run(models_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `python -m analysis` with these arguments, in an empty folder."""
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(models_root))
    monkeypatch.chdir(tmp_path)
    return partial(run_in_process, main, "analysis")


@pytest.fixture
def look(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, with a model `one` of the classes of synthetic/objects alone."""
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(tmp_path / "models", "one", classes=classes)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    return run
