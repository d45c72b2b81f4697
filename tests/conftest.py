"""What all tests share: a folder, data that may not be there, and imports that are not garbage."""

import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from artifacts.datasets import data_root
from serving.run_folder import temporary_folder

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).parent
SHORT = ("analysis", "artifacts", "serving")
"""Folders of files that take seconds each. They run last, and so even out what the processes of a
run have to do; a file of trainings that is left for one of them would let the others wait."""


def pytest_configure(config: pytest.Config) -> None:
    """Have a run, and all that it starts, put temporary files into one folder."""
    if not _is_of_xdist(config):
        folder = temporary_folder("vitrine-tests-")
        folder.chmod(0o711)  # PostgreSQL runs as another user
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove the folder, unless a test failed: then it is there until the next run."""
    if not _is_of_xdist(session.config) and exitstatus != pytest.ExitCode.TESTS_FAILED:
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


def _is_of_xdist(config: pytest.Config) -> bool:
    """Whether this process runs tests for one that has made the folder."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by `SHORT`, and skip those marked `data(FOLDER)` where VITRINE_DATA lacks it."""
    items.sort(key=lambda item: item.path.relative_to(TESTS).parts[0] in SHORT)
    for item in items:
        marker = item.get_closest_marker("data")
        if marker is None:
            continue
        folder = data_root().joinpath(*marker.args)
        if not folder.is_dir():
            reason = f"no real data at {folder}; set VITRINE_DATA to run this"
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Exempt what the tests imported from garbage collection, which would scan it all each time."""
    gc.collect()
    gc.freeze()
