"""A sheet of pictures: lines of thumbnails with a word under each."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.inputs import Pictures

Line = tuple[str, Sequence[tuple[int, str]]]
"""A heading, and (place of a picture, words under it)."""


def draw_sheet(lines: Sequence[Line], pictures: Pictures, heading: str, footer: str) -> Figure:
    """Draw lines of pictures from left to right.

    Args:
        lines: at least one, with at least one picture.
        pictures: where the pictures are.
        heading: title of the figure.
        footer: where it comes from.
    """
    columns = max(len(cells) for _, cells in lines)
    width, height = 1.5 + 1.15 * columns, 1.0 + 1.45 * len(lines)
    figure = new_figure(heading, footer, width=max(width, 6), height=height)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (words, cells) in zip(grid, lines, strict=True):
        for axes, (index, caption) in zip(line, cells, strict=False):
            axes.imshow(pictures.pixels(int(index)), interpolation="nearest")
            axes.set_title(caption, fontsize=8, y=-0.05, va="top")
        first = line[0]
        first.text(-0.1, 0.5, words, transform=first.transAxes, ha="right", va="center", fontsize=8)
    return figure
