"""Trains recipes side by side, each in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from rich.console import Console

from artifacts.progress import Progress
from artifacts.provenance import cores
from training.history import DIVERGED
from training.schedule.plan import Item, fits_beside, names_of

LOGS = Path("runs")
"""Folder of the files NAME.log, which hold everything that a training says."""
POLL = 0.2
"""Time between two looks at the processes, seconds."""
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Outcome:
    """How the training of a recipe ended."""

    kind: Literal["trained", "diverged", "failed"]
    reason: str = ""

    @property
    def trained(self) -> bool:
        """Whether there is a new artifact."""
        return self.kind == "trained"


class Training:
    """The process that trains a recipe.

    What it says is shown as it comes, or as the note of a bar on a terminal, and is kept in a file.

    Args:
        item: The recipe.
        jobs: Maximum number of processes at once, which share the cores.
    """

    def __init__(self, item: Item, jobs: int) -> None:
        recipe = self.recipe = item.recipe
        self.item = item
        self.last = ""
        """The last line that it wrote."""
        command = [sys.executable, "-m", "training", "run", recipe.file or recipe.name]
        threads = str(max(1, cores() // jobs))
        environment = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(  # noqa: S603 - the command is our own
            [*command, "--profile", recipe.profile],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop it once
        )
        self.progress = Progress(recipe.artifact_name, shown=console.is_terminal, console=console)
        self.progress.__enter__()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Let it save a checkpoint and end; a second call ends it at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def ended(self) -> Outcome | None:
        """Return how it ended, or None if it still runs."""
        status = self.process.poll()
        if status is None:
            return None
        self._reader.join()
        self.progress.__exit__(None, None, None)
        if status == 0:
            return Outcome("trained")
        reason = self.last.removeprefix("error: ") or f"it ended with status {status}"
        return Outcome("diverged" if DIVERGED in reason else "failed", reason)

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101
        LOGS.mkdir(exist_ok=True)
        name = self.recipe.artifact_name
        path = LOGS / f"{name}.log"
        with path.open("w", encoding="utf-8", buffering=1) as log:
            for line in self.process.stdout:
                log.write(line)
                self.last = line.strip() or self.last
                if console.is_terminal:
                    self.progress.update(None, self.last.removeprefix(f"{name}: "))
                else:
                    known = "" if line.startswith(name) else f"{name}: "
                    console.print(known + line.rstrip(), markup=False, soft_wrap=True)


def train_side_by_side(
    items: Sequence[Item], jobs: int, memory: int | None = None
) -> dict[str, Outcome]:
    """Train recipes, several at once; the failure of one does not stop the others.

    A recipe starts as soon as there is room for it. Ctrl-C and SIGTERM stop all; the same command
    then continues each from its checkpoint.

    Args:
        items: What to train, in this order.
        jobs: Maximum number of processes at once.
        memory: Memory of the GPU that they may take together, bytes; None on a CPU.

    Returns:
        How each ended, by the name of the recipe.

    Raises:
        KeyboardInterrupt: SIGINT came; all have stopped.
        SystemExit: SIGTERM came; all have stopped.
    """
    waiting, running = list(items), list[Training]()
    outcomes: dict[str, Outcome] = {}
    total, heard = len(waiting), 0
    shown = console.is_terminal
    with _signals() as caught, Progress("all", shown=shown, console=console) as whole:
        try:
            while running or (waiting and not caught):
                for training in list(running):
                    outcome = training.ended()
                    if outcome is not None:
                        running.remove(training)
                        outcomes[training.recipe.name] = outcome
                if len(caught) > heard:
                    heard = len(caught)
                    _stop(running)
                if not caught:
                    _start(waiting, running, outcomes, jobs, memory)
                whole.update(len(outcomes) / total, f"{len(outcomes)} of {total}")
                time.sleep(POLL)
        except BaseException:
            _stop(running)
            raise
    if caught:
        raise KeyboardInterrupt if caught[0] == signal.SIGINT else SystemExit(128 + caught[0])
    return outcomes


def _start(
    waiting: list[Item],
    running: list[Training],
    outcomes: dict[str, Outcome],
    jobs: int,
    memory: int | None,
) -> None:
    """Start what there is room for; what started, or cannot, is removed from `waiting`."""
    for item in startable(waiting, [each.item for each in running], jobs, memory):
        waiting.remove(item)
        lacking = [name for name in item.after if name in outcomes and not outcomes[name].trained]
        if lacking:
            reason = f"{lacking[0]}, from whose head it starts, was not trained"
            outcomes[item.recipe.name] = Outcome("failed", reason)
        else:
            running.append(Training(item, jobs))


def _stop(running: Sequence[Training]) -> None:
    console.print(f"stopping {len(running)} trainings; the same command continues them")
    for training in running:
        training.stop()


def startable(
    waiting: Sequence[Item], running: Sequence[Item], jobs: int, memory: int | None
) -> list[Item]:
    """Return the recipes to start now, in order.

    A recipe that does not fit lets smaller ones pass, unless it is the first that waits and would
    fit alone: then nothing starts until the others have ended, so that it is not put off for ever.
    """
    pending = names_of([*waiting, *running])
    found: list[Item] = []
    for item in waiting:
        if pending & {*item.after}:
            continue
        if fits_beside(item, [*running, *found], jobs, memory):
            found.append(item)
        elif not found:
            break
    return found


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the numbers of SIGINT and SIGTERM, instead of ending where they come."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may handle signals
        return

    def note(number: int, _frame: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
