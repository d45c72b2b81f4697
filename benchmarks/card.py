"""Readings of the graphics card, and of the memory of a family of processes, while work goes on."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Self

import psutil
import pynvml

from benchmarks.servers import Running

INTERVAL = 0.25
"""Seconds between two readings; the driver itself averages over 1/6 to 1 s."""


class Card:
    """The first NVIDIA card that this process may use, read through NVML.

    Args:
        handle: of the device, as NVML gives it.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.name = str(pynvml.nvmlDeviceGetName(handle))
        self.driver = str(pynvml.nvmlSystemGetDriverVersion())

    @classmethod
    def find(cls) -> Self | None:
        """Return the card; None without a card, or without the driver's library."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        try:
            pynvml.nvmlInit()
            if visible.isdecimal():
                return cls(pynvml.nvmlDeviceGetHandleByIndex(int(visible)))
            return cls(pynvml.nvmlDeviceGetHandleByUUID(visible))
        except pynvml.NVMLError:
            return None

    def memory_mb(self) -> float:
        """Return the memory of the card that is in use by all programs, in MB."""
        return float(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used) / 1e6

    def busy(self) -> float:
        """Return the share of the last moments in which the card computed, in percent."""
        return float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)


@dataclass
class Use:
    """What was read while some work went on."""

    host: list[float] = field(default_factory=list)
    """MB: peaks of the resident memory of all processes, shared pages counted in each."""
    card: list[float] = field(default_factory=list)
    """MB in use on the card."""
    busy: list[float] = field(default_factory=list)
    """Percent."""

    @property
    def host_mb(self) -> float | None:
        """The largest reading; None if there is none."""
        return max(self.host, default=None)

    @property
    def card_mb(self) -> float | None:
        """The largest reading; None if there is none."""
        return max(self.card, default=None)

    @property
    def card_busy(self) -> float | None:
        """The mean of the readings; None if there is none."""
        return mean(self.busy) if self.busy else None


@contextmanager
def watched(process: psutil.Process, card: Card | None) -> Iterator[Use]:
    """Read the card, and the memory of a process and its children, until the block ends.

    A reading that fails is left out: the process may have ended, and some cards do not tell
    everything.
    """
    use, over, family = Use(), threading.Event(), Running(0, process)

    def read() -> None:
        while True:
            with suppress(psutil.Error):
                if memory := family.peak_mb():
                    use.host.append(memory)
            if card is not None:
                with suppress(pynvml.NVMLError):
                    use.card.append(card.memory_mb())
                    use.busy.append(card.busy())
            if over.wait(INTERVAL):
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield use
    finally:
        over.set()
        thread.join()
