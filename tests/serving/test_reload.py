"""How the workers agree on what to load, and what is said if they cannot."""

import asyncio
import logging
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.lifecycle import Lifecycle, WorkerGroup
from serving.problems import RequestError


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not removed after the test: its threads go on."""
    return tmp_path_factory.mktemp("reload")


def lifecycle(folder: Path, index: int, load: Any, **others: Any) -> Lifecycle:
    middleware: Any = SimpleNamespace(closed=None, in_flight=0)
    made = Lifecycle(WorkerGroup(folder, index, 2), middleware, load, **others)
    threading.Thread(target=made._keep_up_to_date, daemon=True).start()
    return made


def wait_for(lifecycle: Lifecycle, generation: int) -> None:
    deadline = time.monotonic() + 30
    while lifecycle._loaded_generation < generation:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reload_is_answered_once_all_workers_have_loaded(tmp_path: Path) -> None:
    allowed = threading.Event()
    first = lifecycle(tmp_path, 1, lambda: None)
    loads: list[float] = []

    def load() -> None:
        loads.append(time.monotonic())
        if len(loads) > 1:
            allowed.wait()

    second = lifecycle(tmp_path, 2, load)
    for each in (first, second):
        wait_for(each, 0)

    async def reload() -> None:
        asked = asyncio.create_task(first.reload())
        await asyncio.to_thread(wait_for, first, 1)
        await asyncio.sleep(0.5)
        assert not asked.done()
        allowed.set()
        await asyncio.wait_for(asked, 30)

    asyncio.run(reload())
    assert first._loaded_generation == second._loaded_generation == 1


def test_a_failed_load_is_told_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = lifecycle(tmp_path, 1, lambda: None)
    tries: list[float] = []

    def load() -> None:
        tries.append(time.monotonic())
        if 1 < len(tries) <= 4:
            raise MemoryError

    second = lifecycle(tmp_path, 2, load)
    for each in (first, second):
        wait_for(each, 0)
    with caplog.at_level(logging.ERROR, "bentoml.vitrine"):
        with pytest.raises(RequestError) as caught:
            asyncio.run(first.reload())
        assert (caught.value.code, caught.value.status) == ("reload-failed", 503)
        wait_for(second, 1)
    assert len(tries) == 5
    assert len([r for r in caplog.records if "could not be loaded" in r.message]) == 1
    asyncio.run(first.reload())


def test_a_clock_that_goes_back_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [WorkerGroup(tmp_path, index, 2) for index in (1, 2)]
    numbers = []
    for step in range(6):
        monkeypatch.setattr(time, "time_ns", lambda step=step: 10**18 - step * 10**9)
        numbers.append(workers[step % 2].request_generation())
        assert not workers[0].all_have(numbers[-1])
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_no_request_of_several_workers_is_lost(tmp_path: Path) -> None:
    groups = [WorkerGroup(tmp_path, index, 3) for index in (1, 2, 3)]
    threads = [
        threading.Thread(target=lambda g=group: [g.request_generation() for _ in range(50)])
        for group in groups * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert groups[0].requested_generation() == 300


def test_single_artifacts_that_could_not_be_loaded_are_tried_again_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.lifecycle.WATCH_SECONDS", 0.1)
    monkeypatch.setattr("serving.lifecycle.POLL_SECONDS", 0.01)
    tries: list[float] = []

    def repair() -> bool:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise MemoryError
        return len(tries) > 4

    lifecycle(tmp_path, 1, lambda: None, repair=repair)
    deadline = time.monotonic() + 30
    while len(tries) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pauses = np.diff(tries[:6])
    assert (pauses[:4] >= 0.2 * 2.0 ** np.arange(4) - 0.01).all()
    assert pauses[4] < pauses[3]  # nothing is broken any more
