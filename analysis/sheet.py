"""Figures with rows of pictures, each with a caption."""

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.inputs import Pictures
from artifacts.figure_style import SMALL

Pixels = npt.NDArray[np.uint8]

MIN_COLUMNS, MAX_COLUMNS = 6, 11
"""Numbers of pictures for which a row has space; a longer row goes on in the next one."""
SIDE, LINE = 0.85, 0.15
"""Width of a picture and height of a line of its caption, in inches."""
CHARACTERS = 13
"""Number of characters that fit below a picture."""


def draw_sheet(
    lines: Sequence[tuple[str, Sequence[tuple[int, str]]]],
    pictures: Pictures,
    heading: str,
    footer: str,
) -> Figure:
    """Draw rows of pictures that are given by their index in `pictures`; see `draw_pictures`."""
    read = [
        (words, [(pictures.pixels(int(index)), caption) for index, caption in cells])
        for words, cells in lines
    ]
    return draw_pictures(read, heading, footer)


def draw_pictures(
    lines: Sequence[tuple[str, Sequence[tuple[Pixels, str]]]], heading: str, footer: str
) -> Figure:
    """Draw rows of pictures from left to right; a long row goes on in the next one.

    Args:
        lines: at least one row: the text in front of it, and at least one picture with its caption.
        heading: title of the figure.
        footer: origin of the figure.
    """
    short = [
        (_wrapped(words) if start == 0 else "", cells[start : start + MAX_COLUMNS])
        for words, cells in lines
        for start in range(0, len(cells), MAX_COLUMNS)
    ]
    captions = [[_wrapped(caption) for _, caption in cells] for _, cells in short]
    heights = [SIDE + LINE * (1 + max(c.count("\n") for c in row) + 1) for row in captions]
    columns = max(MIN_COLUMNS, *(len(cells) for _, cells in short))
    width = SIDE * (columns + 1) + 0.3
    figure = new_figure(heading, footer, width=width, height=sum(heights))
    grid = figure.subplots(len(short), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (words, cells), texts in zip(grid, short, captions, strict=True):
        for axes, (pixels, _), text in zip(line, cells, texts, strict=False):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_title(text, fontsize=SMALL, y=-0.05, va="top", pad=0)
        place = {"x": -0.1, "y": 0.5, "ha": "right", "va": "center", "fontsize": SMALL}
        line[0].text(s=words, transform=line[0].transAxes, **place)
    return figure


def _wrapped(text: str) -> str:
    """Break lines that are wider than a picture."""
    return "\n".join(textwrap.fill(line, CHARACTERS) for line in text.split("\n"))
