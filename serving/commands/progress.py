"""Progress of long commands: a bar in a terminal, and now and then a line in a log."""

import sys
import time
from types import TracebackType
from typing import Self

import click

LOG_SECONDS = 10.0
"""Time between two lines of a log."""


class Progress:
    """Shows how many pictures are done and how much time is left, on stderr.

    Args:
        label: what is being done.
        total: number of pictures.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._begun = self._shown = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = (
            click.progressbar(length=total, file=sys.stderr, label=label) if terminal else None
        )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def advance(self, pictures: int) -> None:
        """Count pictures that are done."""
        self._done += pictures
        if self._bar is not None:
            self._bar.update(pictures)
            return
        now = time.monotonic()
        if now - self._shown >= LOG_SECONDS:
            self._shown = now
            click.echo(self._line(now - self._begun), err=True)

    def _line(self, seconds: float) -> str:
        speed = self._done / seconds
        left = round((self._total - self._done) / speed)
        return (
            f"{self._label}: {self._done:,} of {self._total:,} pictures, {speed:.1f} a second, "
            f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        )
