"""What all tests share: data that may not be there, and imports that are not garbage."""

import gc
import signal
from pathlib import Path

import pytest

from artifacts.datasets import data_root

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).parent
SHORT = ("analysis", "artifacts", "serving")
"""Folders of files that take seconds each. They run last, and so even out what the processes of a
run have to do; a file of trainings that is left for one of them would let the others wait."""


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
