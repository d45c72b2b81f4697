"""How many requests run at all workers of a server: one that is alone may use every core."""

import mmap
from pathlib import Path

BYTES = 4
"""Of a worker's count."""


class Crowd:
    """Counts of requests that wait for a model or are being answered by it.

    Each worker writes its own place in a small file that all have mapped.

    Args:
        folder: that the workers of one server share, and nobody else.
        index: of this worker, from 1.
        workers: how many there are.
    """

    def __init__(self, folder: Path, index: int = 1, workers: int = 1) -> None:
        with (folder / "crowd").open("a+b") as file:
            file.truncate(BYTES * workers)
            self._counts = memoryview(mmap.mmap(file.fileno(), BYTES * workers)).cast("i")
        self._index = index - 1
        self._counts[self._index] = 0  # of a worker that was killed

    def enter(self) -> None:
        """One more at this worker."""
        self._counts[self._index] += 1

    def leave(self) -> None:
        """One fewer."""
        self._counts[self._index] -= 1

    @property
    def alone(self) -> bool:
        """Whether there is but one, at any worker."""
        return sum(self._counts) == 1
