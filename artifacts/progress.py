"""Progress of long work: a bar on a terminal, a line at least every 10 s in a log.

`track` reports on a loop over items. `Progress` reports on work that knows which fraction of it is
done. Both may be nested. They write to stderr, or to the console that they are given.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TypeVar

import rich.progress as bars
from rich.console import Console

INTERVAL = 10.0
"""Maximum time between two lines in a log, in seconds."""
Item = TypeVar("Item")


def track(
    items: Iterable[Item],
    description: str,
    total: int | None = None,
    console: Console | None = None,
) -> Iterator[Item]:
    """Yield the items and report how many of them are done.

    Args:
        items: The items.
        description: What is done with them, such as "decoding pictures".
        total: Number of items; `len(items)` by default, and unknown if they have no length.
        console: Where to report; stderr by default.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    of = f" of {total:,}" if total else ""
    with Progress(description, console=console) as progress:
        for count, item in enumerate(items):
            progress.update(count / total if total else None, f"{count:,}{of}")
            yield item


class Progress:
    """Reports on work that takes minutes or hours; a context manager.

    On a terminal it shows a bar, which disappears in the end. Elsewhere it prints a line at the
    first update and then every `INTERVAL` seconds, even if a single step takes longer than that.

    Args:
        description: What is done, such as the name of the model that is trained.
        start: Fraction of the work (0..1) that was done before; the time left is computed from
            what is done beyond it.
        shown: False reports nothing, as for all processes but the first.
        console: Where to report; stderr by default.
    """

    _bars: bars.Progress | None = None
    """The display on the terminal, to which nested reports add a bar of their own."""

    def __init__(
        self,
        description: str,
        *,
        start: float = 0.0,
        shown: bool = True,
        console: Console | None = None,
    ) -> None:
        self.description, self.start, self.shown = description, start, shown
        self.console = console or Console(stderr=True, highlight=False)
        self._terminal = self.console.is_terminal and not self.console.is_dumb_terminal
        self._began = time.monotonic()
        self._fraction: float | None = None
        self._note = ""
        self._printed = False
        self._end = threading.Event()
        self._printer: threading.Thread | None = None
        self._owner = False
        self._task: bars.TaskID | None = None

    def __enter__(self) -> Self:
        """Start to report."""
        self._began = time.monotonic()
        if not self.shown:
            return self
        if self._terminal:
            self._show_bar()
        else:
            self._printer = threading.Thread(target=self._print_regularly, daemon=True)
            self._printer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to report and remove the bar."""
        self._end.set()
        if self._printer is not None:  # it may have begun to print a last line
            self._printer.join()
        if Progress._bars is None or self._task is None:
            return
        Progress._bars.remove_task(self._task)
        if self._owner:
            Progress._bars.stop()
            Progress._bars = None

    def update(self, fraction: float | None, note: str = "") -> None:
        """Report what is done so far.

        Args:
            fraction: Fraction of the work that is done, 0..1; None if unknown.
            note: More to say, such as the epoch and the loss.
        """
        self._fraction, self._note = fraction, note
        if Progress._bars is not None and self._task is not None:
            total = None if fraction is None else 1.0
            Progress._bars.update(self._task, completed=fraction, total=total, note=self._words())
        elif self.shown and not self._printed:
            self._printed = True
            self._print()

    def log(self, text: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        if self.shown:
            where = Progress._bars.console if Progress._bars else self.console
            where.print(text, highlight=False, soft_wrap=True, markup=False)

    def left(self) -> float | None:
        """Return the estimated time until the work is done, in seconds; None if unknown."""
        done = (self._fraction or 0.0) - self.start
        if done <= 0 or self._fraction is None:
            return None
        return (time.monotonic() - self._began) / done * max(1.0 - self._fraction, 0.0)

    def _show_bar(self) -> None:
        if Progress._bars is None:
            columns = (
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=20),
                bars.TextColumn("{task.fields[note]}", markup=False),
            )
            Progress._bars = bars.Progress(*columns, console=self.console, transient=True)
            Progress._bars.start()
            self._owner = True
        self._task = Progress._bars.add_task(self.description, total=None, note="")

    def _print_regularly(self) -> None:
        while not self._end.wait(INTERVAL):
            self._print()

    def _print(self) -> None:
        self.log(f"{self.description}: {self._words()}")

    def _words(self) -> str:
        """Return the state in words, such as "40 %, epoch 2/5, about 3 min left"."""
        share = "" if self._fraction is None else f"{self._fraction:.0%}".replace("%", " %")
        left = self.left()
        spent = time.monotonic() - self._began
        when = f"{duration(spent)} so far" if left is None else f"about {duration(left)} left"
        return ", ".join(filter(None, [share, self._note, when]))


def duration(seconds: float) -> str:
    """Return a time in words, such as "45 s", "12 min" or "3 h 5 min"."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
