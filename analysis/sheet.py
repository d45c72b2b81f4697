"""Figures with rows of pictures, each with a caption."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.inputs import Pictures

Pixels = npt.NDArray[np.uint8]


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
    """Draw rows of pictures from left to right.

    Args:
        lines: at least one row: the text in front of it, and at least one picture with its caption.
        heading: title of the figure.
        footer: origin of the figure.
    """
    columns = max(len(cells) for _, cells in lines)
    width, height = 1.5 + 1.15 * columns, 1.0 + 1.45 * len(lines)
    figure = new_figure(heading, footer, width=max(width, 6), height=height)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (words, cells) in zip(grid, lines, strict=True):
        for axes, (pixels, caption) in zip(line, cells, strict=False):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_title(caption, fontsize=8, y=-0.05, va="top", pad=0)
        first = line[0]
        first.text(-0.1, 0.5, words, transform=first.transAxes, ha="right", va="center", fontsize=8)
    return figure
