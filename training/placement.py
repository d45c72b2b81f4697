"""Where the pictures of a training are kept: on the device if they fit, otherwise on the host.

A GPU waits if the host copies a tensor from ordinary memory to it, and if the host asks for a value
that it computes. A step of training therefore copies from pinned memory alone, and reads nothing.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

SHARE = 0.5
"""Fraction of the free memory of a device that the pictures of one split may take. The rest is for
the network, its gradients and what they are computed from."""
AHEAD = 3
"""Number of batches that are read ahead where the pictures stay on the host."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; neither the host nor a GPU waits for the other."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def wait(device: torch.device) -> None:
    """Return when a device has computed what it was told to, so that a time can be taken."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return float32 numbers on a device, to which they are copied once; do not change them."""
    with torch.inference_mode(mode=False):
        return torch.tensor(values, device=device)


def free_memory(device: torch.device) -> int:
    """Return the free memory of a GPU, bytes, which other processes may share."""
    return torch.cuda.mem_get_info(device)[0]


class OnDevice:
    """Rows of a table that is on the device as a whole.

    Args:
        table: N x ..., on any device.
        device: Where the rows are needed.
    """

    def __init__(self, table: Tensor, device: torch.device) -> None:
        with torch.inference_mode(mode=False):
            self.table = table.to(device)

    def announce(self, batches: Sequence[Tensor]) -> None:
        """Do nothing; see `ReadAhead.announce`."""

    def take(self, indices: Tensor) -> Tensor:
        """Return the rows at `indices`, int64 B, on the device."""
        return self.table[to_device(indices, self.table.device)]


class ReadAhead:
    """Rows of a table that stays on the host, which a thread reads before they are asked for.

    Args:
        table: N x ..., in memory or mapped from a file.
        device: Where the rows are needed.
    """

    def __init__(self, table: Tensor, device: torch.device) -> None:
        self.table, self.device = table, device
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._coming: Iterator[Tensor] = iter(())
        self._read: deque[tuple[Tensor, Future[Tensor]]] = deque()

    def announce(self, batches: Sequence[Tensor]) -> None:
        """Say which rows `take` will be asked for next, and in which order."""
        self._coming = iter(batches)
        self._read.clear()
        for _ in range(AHEAD):
            self._start_next()

    def take(self, indices: Tensor) -> Tensor:
        """Return the rows at `indices`, int64 B, on the device.

        They are read now unless they are the next that were announced.
        """
        if self._read and self._read[0][0] is indices:
            rows = self._read.popleft()[1].result()
            self._start_next()
        else:
            rows = self._pinned(indices)
        return rows.to(self.device, non_blocking=rows.is_pinned())

    def _start_next(self) -> None:
        indices = next(self._coming, None)
        if indices is not None:
            self._read.append((indices, self._thread.submit(self._pinned, indices)))

    def _pinned(self, indices: Tensor) -> Tensor:
        rows = self.table[indices]
        return rows.pin_memory() if self.device.type == "cuda" else rows


Rows = OnDevice | ReadAhead


def fits(size: int, device: torch.device) -> bool:
    """Return whether `size` bytes may be kept on a device; on a CPU they are there already."""
    return device.type != "cuda" or size <= SHARE * free_memory(device)


def place(table: Tensor, device: torch.device) -> Rows:
    """Choose where a table is kept: on the device if it takes at most `SHARE` of what is free.

    Args:
        table: N x ..., on the host.
        device: Where its rows are needed.
    """
    return (OnDevice if fits(table.nbytes, device) else ReadAhead)(table, device)
