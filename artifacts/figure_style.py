"""The common look of all figures: fonts, colours, title, origin, legend and alternative text.

Two packages draw: `training` and `analysis`. They create a figure each by its own `new_figure`, and
take everything else from here. This module needs no matplotlib, which servers do not have; it only
configures figures that it is given.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    # a dollar sign in the name of a class or a folder must not start a formula
    "text.parse_math": False,
    "font.size": 10.5,
    "figure.titlesize": 13,
    "axes.titlesize": 11.5,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "grid.alpha": 0.3,
}
"""Settings of matplotlib, for `rcParams`. Sizes of fonts are in points."""
SMALL = 9.0
"""Font size of the origin, and of numbers inside a plot, in points; nothing is smaller."""
SOFT = "#555555"
"""Colour of the origin and of lines to compare with."""

COLOURS = (
    "#3f90da",
    "#bd1f01",
    "#ffa90e",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""Ten colours that can be distinguished with colour blindness (Petroff 2021, arXiv 2107.02270).

The first three differ in lightness as well, so that they stay apart when printed in grey."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", ":", "-.")
HATCHES = ("", "///", "...", "xxx")
SLANTED: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
"""Settings of long names below an axis."""
STYLE_COUNT = 5 * len(MARKERS)
"""Number of pairs that `styles` yields."""

_TITLE_CHARACTERS = 10.5  # per inch, in the font size of the title
_ORIGIN_CHARACTERS = 15.5
_TITLE_LINE, _ORIGIN_LINE, _GAP = 0.24, 0.17, 0.12  # inches
_LEGEND_LINE = 0.22  # inches
_LEGEND_CHARACTERS, _LEGEND_MARK = 13.0, 7  # per inch; width of the mark beside a label


def styles() -> Iterator[tuple[str, str]]:
    """Yield `STYLE_COUNT` different pairs (colour, marker), for points.

    The marker changes after five colours, so that similar colours, such as the two greys, have
    different shapes.
    """
    for number in range(STYLE_COUNT):
        yield COLOURS[number % len(COLOURS)], MARKERS[number // 5]


def line_style(place: int) -> dict[str, Any]:
    """Return the colour, marker and dashes of a line, which differ in print without colours, too.

    Args:
        place: number of the line in its plot, from 0.
    """
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place % len(LINES)],
        "markersize": 5,
    }


def bar_style(place: int) -> dict[str, Any]:
    """Return the colour and hatching of bars; see `line_style`."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "hatch": HATCHES[place % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.5,
    }


def entitle(figure: "Figure", title: str, origin: str) -> None:
    """Write a title above a figure and its origin below, and lay out the rest between them.

    The figure grows by what both take, so that plots keep the size that was asked for.

    Args:
        figure: a figure without contents.
        title: what is shown: models, data and sample size.
        origin: the command and settings.
    """
    width, height = figure.get_size_inches()
    head = textwrap.wrap(title, int(width * _TITLE_CHARACTERS))
    foot = textwrap.wrap(origin, int(width * _ORIGIN_CHARACTERS), break_on_hyphens=False)
    above = _GAP + _TITLE_LINE * len(head)
    below = _GAP + _ORIGIN_LINE * len(foot) if foot else 0.0
    figure.suptitle("\n".join(head)).set_in_layout(False)
    _write_origin(figure, "\n".join(foot))
    _divide(figure, above, height, below)


def add_legend(figure: "Figure", axes: "Axes", title: str | None = None) -> None:
    """Write the legend of a plot below all plots of its figure, where it covers nothing.

    Args:
        figure: was given to `entitle`.
        axes: plot with labelled lines, bars or points.
        title: heading of the legend.
    """
    handles, labels = axes.get_legend_handles_labels()
    width, whole = figure.get_size_inches()
    columns = _columns(labels, width)
    lines = math.ceil(len(labels) / columns) + bool(title)
    engine: Any = figure.get_layout_engine()
    _, bottom, _, height = engine.get()["rect"]
    above, below = whole * (1 - bottom - height), whole * bottom
    added = _GAP + _LEGEND_LINE * lines
    _divide(figure, above, whole * height, below + added)
    at = (0.5, below / (whole + added))
    figure.legend(
        handles, labels, title=title, loc="lower center", bbox_to_anchor=at, ncols=columns
    )


def _divide(figure: "Figure", above: float, height: float, below: float) -> None:
    """Give a figure a new height, in inches: that of its plots, and the space above and below."""
    whole = above + height + below
    figure.set_size_inches(figure.get_size_inches()[0], whole)
    figure.suptitle(figure.get_suptitle(), y=1 - _GAP / 2 / whole)
    _write_origin(figure, figure.get_supxlabel(), _GAP / 2 / whole)
    figure.set_layout_engine("constrained", rect=(0, below / whole, 1, height / whole))


def _write_origin(figure: "Figure", text: str, y: float = 0.0) -> None:
    figure.supxlabel(
        text, fontsize=SMALL, color=SOFT, x=0.01, y=y, ha="left", va="bottom"
    ).set_in_layout(False)


def _columns(labels: Sequence[str], width: float) -> int:
    """Return how many columns of a legend fit into a width in inches."""
    longest = max((len(label) for label in labels), default=0)
    fitting = int(width * _LEGEND_CHARACTERS / (longest + _LEGEND_MARK))
    return max(1, min(len(labels), fitting))


def describe(figure: "Figure") -> str:
    """Return what a figure shows in words, for people who do not see it.

    These are its title, the axes of each plot with the names of what is drawn, and the number of
    pictures.
    """
    parts = [figure.get_suptitle().replace("\n", " ")]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    pictures = 0
    for axes in figure.axes:
        across, up = axes.get_xlabel(), axes.get_ylabel()
        if across and up:
            heading = f" ({axes.get_title()})" if axes.get_title() else ""
            parts.append(f"{up} against {across}{heading}".replace("\n", " "))
        elif axes.images and not axes.axison:
            pictures += 1
    if legends:
        parts.append(f"Shown are: {'; '.join(legends)}")
    if pictures:
        parts.append(f"{pictures} picture{'s' * (pictures != 1)} with captions")
    return ". ".join(parts) + "."
