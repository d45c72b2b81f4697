"""The common look of all figures: colours, title and footer. They are drawn without a display."""

import textwrap
from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.figure import Figure

# a dollar sign in the name of a class or a folder must not start a formula
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
"""Ten colours that can be distinguished with colour blindness (Petroff 2021, arXiv 2107.02270)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
STYLE_COUNT = 5 * len(MARKERS)
"""Number of pairs that `styles` yields."""
CHARACTERS_PER_INCH = 11  # in the font size of the title, which is twice that of the footer


def new_figure(title: str, footer: str, width: float = 9.0, height: float = 6.0) -> Figure:
    """Return an empty figure with a title, and with a small footer that states its origin.

    Args:
        title: models, data and sample size.
        footer: command and settings.
        width: width in inches.
        height: height in inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    characters = int(width * CHARACTERS_PER_INCH)
    figure.suptitle(textwrap.fill(title, characters), fontsize=12)
    figure.supxlabel(
        textwrap.fill(footer, 2 * characters - 10, break_on_hyphens=False),
        fontsize=6.5,
        color="#555555",
        x=0.01,
        horizontalalignment="left",
    )
    return figure


def styles() -> Iterator[tuple[str, str]]:
    """Yield `STYLE_COUNT` different pairs (colour, marker).

    The marker changes after five colours, so that similar colours, such as the two greys, have
    different shapes.
    """
    for number in range(STYLE_COUNT):
        yield COLOURS[number % len(COLOURS)], MARKERS[number // 5]
