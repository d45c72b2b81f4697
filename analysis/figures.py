"""What all figures look like: colours, title, footer. Drawn by Agg alone, no display needed."""

import textwrap
from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.figure import Figure

# a dollar in the name of a class or a folder is a dollar, not the start of a formula
mpl.rcParams["text.parse_math"] = False

COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""Ten colours told apart with any kind of colour blindness (Petroff 2021, arXiv 2107.02270)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
STYLES = 5 * len(MARKERS)
"""Number of `styles`."""
CHARACTERS_PER_INCH = 11  # at the title's font size; the footer's is half as large


def new_figure(title: str, footer: str, width: float = 9.0, height: float = 6.0) -> Figure:
    """An empty figure with a title, and a small footer that says where it comes from.

    Args:
        title: model(s), data and sample size.
        footer: command and settings.
        width: inches.
        height: inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    room = int(width * CHARACTERS_PER_INCH)
    figure.suptitle(textwrap.fill(title, room), fontsize=12)
    figure.supxlabel(
        textwrap.fill(footer, 2 * room - 10, break_on_hyphens=False),
        fontsize=6.5,
        color="#555555",
        x=0.01,
        horizontalalignment="left",
    )
    return figure


def styles() -> Iterator[tuple[str, str]]:
    """Yield `STYLES` pairs (colour, marker), all different; the marker changes after five colours.

    So near colours, such as the two greys, differ in shape as well.
    """
    for number in range(STYLES):
        yield COLOURS[number % len(COLOURS)], MARKERS[number // 5]
