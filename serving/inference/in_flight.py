"""Counts the requests in flight at all workers: a request that is alone may use every core."""

import mmap
import os
from pathlib import Path

COUNT_BYTES = 4
"""Size of one worker's count."""


class InFlight:
    """Counts requests that wait for a model or are being answered by one, over all workers.

    Each worker writes its own count in a small file that all of them have mapped.

    Args:
        folder: shared by the workers of one server, and by nobody else.
        index: of this worker, from 1.
        workers: how many there are.
    """

    def __init__(self, folder: Path, index: int = 1, workers: int = 1) -> None:
        with (folder / "in-flight").open("a+b") as file:
            os.posix_fallocate(file.fileno(), 0, COUNT_BYTES * workers)
            self._counts = memoryview(mmap.mmap(file.fileno(), COUNT_BYTES * workers)).cast("i")
        self._index = index - 1
        self._counts[self._index] = 0  # a killed worker may have left a count behind

    def enter(self) -> None:
        """Count one more request at this worker."""
        self._counts[self._index] += 1

    def leave(self) -> None:
        """Count one request fewer."""
        self._counts[self._index] -= 1

    @property
    def alone(self) -> bool:
        """Whether exactly one request is in flight at all workers together."""
        return sum(self._counts) == 1
