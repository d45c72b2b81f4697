"""Models, a command line and a report for the tests of `analysis`."""

import fcntl
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from analysis.__main__ import main
from artifacts import datasets
from tests.commands import Done, run_in_process
from tests.graphs import tiny_artifact

Run = Callable[..., Done]
ARGUMENTS = ("report", "--model", "one", "--dataset", "synthetic/objects:test", "--limit", 100)
"""Of the report that `reported` has made already."""


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


@pytest.fixture(scope="session")
def first_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `one` and its report, made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "first-report"
    with (shared / "first-report.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = tmp_path_factory.mktemp("report")
            classes = datasets.load("synthetic/objects", "test").classes
            tiny_artifact(made / "models", "one", classes=classes)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("VITRINE_ARTIFACTS", str(made / "models"))
                patch.chdir(made)
                done = run_in_process(main, "analysis", *ARGUMENTS, "--pages", "pages")
            assert done.status == 0, done.err
            made.rename(folder)
    return folder


@pytest.fixture
def reported(first_report: Path, tmp_path: Path, look: Run) -> Run:
    """`look`, where the report of `one` exists already: in `reports`, and its page in `pages`."""
    shutil.copytree(first_report, tmp_path, dirs_exist_ok=True)
    return look
