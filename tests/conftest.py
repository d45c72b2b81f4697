"""What all tests share: data that may not be there, and imports that are not garbage."""

import gc
import signal

import pytest

from artifacts.datasets import data_root

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `data(FOLDER)` where that folder of VITRINE_DATA is missing."""
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
