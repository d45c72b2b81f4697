"""What a run says of itself while it trains, in a small file that `vitrine train watch` reads."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from artifacts.progress import Progress
from training.history import Epoch

RUNS = Path("runs")
"""Folder of the runs, each in a folder of its own until its artifact replaces it."""

STATE_FILE, CHECKPOINT, FINISHED = "state.json", "checkpoint.pt", "trained.pt"
"""Files in the folder of a run: how far it is, what it can continue from, and what it made."""
WRITE_SECONDS = 2.0
"""Minimum time between two updates within an epoch."""
SILENT_SECONDS = 3600.0
"""Time without an update from which a run counts as ended, whatever process has its number."""


@dataclass
class RunState:
    """How far a run is."""

    name: str
    epochs: int
    """Number of epochs that are intended."""
    score: str
    """What the accuracies of the history are, such as accuracy or mAP."""
    history: list[Epoch] = field(default_factory=list)
    fraction: float = 0.0
    """How much of the run is done, 0..1."""
    left: float | None = None
    """Estimated seconds until training ends; None if unknown."""
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    updated: float = 0.0
    """Unix time."""

    @property
    def alive(self) -> bool:
        """Whether the process still runs; of another host it is assumed."""
        if time.time() - self.updated > SILENT_SECONDS:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # another user's
            return True
        return True

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the state of the run in a folder; None if it has written none, or is gone."""
        try:
            content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
            history = [Epoch(**row) for row in content.pop("history")]
            return cls(**content, history=history)
        except (OSError, ValueError, TypeError, KeyError):
            return None


class RunProgress(Progress):
    """Progress of a run that is also written to `STATE_FILE`, atomically.

    Within an epoch it is written at most every `WRITE_SECONDS`.

    Args:
        folder: Of the run.
        state: What is known at the start.
        share: Returns which fraction of the work (0..1) a number of epochs is.
        first: Whether this process reports and writes; one process of several does.
    """

    def __init__(
        self, folder: Path, state: RunState, share: Callable[[float], float], *, first: bool
    ) -> None:
        super().__init__(state.name, shown=first)
        self.share = share
        self._path, self._state = folder / STATE_FILE, state
        self._written = 0.0

    def update(self, fraction: float | None, note: str = "") -> None:
        """Report and, if it is time, write what is done so far."""
        super().update(fraction, note)
        if time.time() - self._written > WRITE_SECONDS:
            self.write(fraction or 0.0)

    def write(self, fraction: float) -> None:
        """Write what is done so far, which includes the history of the state."""
        if not self.shown:
            return
        self._written = self._state.updated = time.time()
        self._state.fraction, self._state.left = fraction, self.left()
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self._state)), encoding="utf-8")
        fresh.replace(self._path)


def states(base: Path) -> dict[Path, RunState]:
    """Return the states of all runs below a folder, whether they go on or not, by their folders."""
    found = ((path.parent, RunState.read(path.parent)) for path in base.rglob(STATE_FILE))
    return {folder: state for folder, state in found if state is not None}


def latest(found: dict[Path, RunState]) -> dict[Path, RunState]:
    """Keep the latest run of each process."""
    ordered = sorted(found, key=lambda folder: found[folder].updated)
    kept = {(found[folder].host, found[folder].pid): folder for folder in ordered}
    return {folder: found[folder] for folder in kept.values()}


def running(base: Path) -> list[RunState]:
    """Return the states of all runs below a folder that go on; of a process, its latest run."""
    alive = (state for state in latest(states(base)).values() if state.alive)
    return sorted(alive, key=lambda state: state.name)
