"""`vitrine train watch`: shows the runs that are training, until they end."""

import time
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from artifacts import VitrineError
from artifacts.progress import duration

if TYPE_CHECKING:
    from pathlib import Path

    from training.run_state import RunState

SECONDS = 1.0
"""Time between two looks at the runs."""
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 48
"""Maximum width of a curve, in characters."""
PORT = 3001
"""Of the page, unless another is named; next to that of `vitrine serve`."""


@click.command("watch")
@click.argument("run", required=False)
@click.option("--page", is_flag=True, help="Show them on a page for browsers of this machine.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"Of the page; {PORT} by default.")
def watch_command(run: str | None, page: bool, port: int | None) -> None:
    """Show RUN, or all runs of this folder, while they train: epochs, curves and the time left.

    RUN is the name of the model that is trained. The command only reads, and ends when the run
    ends. Where the output is no terminal, it prints a line for each epoch. With --page, it serves a
    page that also shows runs that have stopped, until it is interrupted.
    """
    from training.run_state import RUNS, running

    base = RUNS / run if run else RUNS
    if page:
        _serve(base, PORT if port is None else port)
        return
    if port is not None:
        raise click.UsageError("--port is that of the page; add --page.")
    states = running(base)
    if not states:
        raise VitrineError(
            f"nothing is training under {base.absolute()}; start `vitrine train run RECIPE`, and "
            "watch it from the same folder."
        )
    console = Console(highlight=False)
    printed: set[tuple[str, int, bool]] = set()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while states:
            if console.is_terminal:
                live.update(Group(*map(_view, states)), refresh=True)
            for state in states if not console.is_terminal else ():
                place = state.name, len(state.history), state.fraction >= 1
                if place not in printed:
                    console.print(_line(state), soft_wrap=True)
                printed.add(place)
            time.sleep(SECONDS)
            states = running(base)
    console.print("No run is training any more.")


def _serve(base: "Path", port: int) -> None:
    """Serve the page about the runs below a folder until the user interrupts."""
    from training.watching.server import PageServer

    with PageServer(base, port) as server:
        click.echo(f"The runs of {base.absolute()} are shown at {server.address} (Ctrl-C ends)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def curve(values: Sequence[float]) -> str:
    """Return a curve of block characters, at most `CURVE` wide, which ends with the last value."""
    values = [value for value in values if isfinite(value)]
    if not values:
        return ""
    step = -(-len(values) // CURVE)
    shown = values[::-1][::step][::-1]
    low, high = min(shown), max(shown)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in shown)


def _view(state: "RunState") -> RenderableType:
    """Draw one run: how far it is, and the curves of its epochs."""
    table = Table.grid(padding=(0, 2))
    for label, field in (
        ("train loss", "train_loss"),
        ("validation loss", "validation_loss"),
        (f"validation {state.score}", "validation_accuracy"),
    ):
        values = [getattr(row, field) for row in state.history]
        if values:
            table.add_row(label, Text(curve(values), "cyan"), f"{values[-1]:.4f}")
    bar = ProgressBar(total=1.0, completed=state.fraction, width=CURVE)
    return Group(Text(_line(state), "bold"), bar, table, "")


def _line(state: "RunState") -> str:
    """Say in one line how far a run is."""
    if state.fraction >= 1:
        return f"{state.name}: trained, and being measured and published"
    done = len(state.history)
    words = [f"{state.name}: {done} of {state.epochs} epochs"]
    if done:
        last = state.history[-1]
        words.append(
            f"validation loss {last.validation_loss:.4f}, {state.score} "
            f"{last.validation_accuracy:.4f}"
        )
    if state.left is not None:
        words.append(f"about {duration(state.left)} left")
    return ", ".join(words)
