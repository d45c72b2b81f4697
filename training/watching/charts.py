"""Curves over the epochs of a run, as coordinates of an SVG drawing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from matplotlib.ticker import MaxNLocator

from training.history import SPLITS, Epoch
from training.run_state import RunState

WIDTH, HEIGHT = 480, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
"""Margins of the area of the curves."""


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: its place on that axis, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve."""

    split: str
    """Name of the split in the history, such as train."""
    words: str
    """What readers call it."""
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """A drawing of `WIDTH` x `HEIGHT`, and its content in words."""

    label: str
    """What is drawn over the epochs."""
    lines: tuple[Line, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    description: str

    width, height = WIDTH, HEIGHT
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM


def charts(state: RunState) -> list[Chart]:
    """Return the curves of the losses and of the accuracies; none before the first epoch ends."""
    quantities = {"loss": "loss", "accuracy": state.score}
    drawn = [_chart(state, quantity, label) for quantity, label in quantities.items()]
    return [chart for chart in drawn if chart is not None]


def _chart(state: RunState, quantity: str, label: str) -> Chart | None:
    values = {split: _values(state.history, f"{split}_{quantity}") for split in SPLITS}
    every = [value for pairs in values.values() for _, value in pairs]
    if not every:
        return None
    numbers = MaxNLocator(4, min_n_ticks=2).tick_values(min(every), max(every))
    low, high = float(numbers[0]), float(numbers[-1])
    last = max(state.epochs, 2)

    def x(epoch: float) -> float:
        return round(LEFT + (epoch - 1) / (last - 1) * (WIDTH - RIGHT - LEFT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    lines = tuple(
        Line(split, words, tuple((x(epoch), y(value)) for epoch, value in values[split]))
        for split, words in SPLITS.items()
    )
    epochs = MaxNLocator(6, integer=True).tick_values(1, last)
    return Chart(
        label=label,
        lines=lines,
        rows=tuple(Tick(y(float(number)), f"{number:.6g}") for number in numbers),
        columns=tuple(Tick(x(float(e)), f"{e:.0f}") for e in epochs if 1 <= e <= last),
        description=f"The {label} over the epochs. " + " ".join(_words(values)),
    )


def _values(history: Sequence[Epoch], field: str) -> list[tuple[int, float]]:
    pairs = [(row.epoch, float(getattr(row, field))) for row in history]
    return [(epoch, value) for epoch, value in pairs if isfinite(value)]


def _words(values: dict[str, list[tuple[int, float]]]) -> list[str]:
    return [
        f"{SPLITS[split].capitalize()}: from {pairs[0][1]:.4f} in epoch {pairs[0][0]} to "
        f"{pairs[-1][1]:.4f} in epoch {pairs[-1][0]}."
        for split, pairs in values.items()
        if pairs
    ]
