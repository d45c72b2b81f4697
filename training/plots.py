"""Creates the figures of training and of studies in the common style, and writes them as PNG."""

import io

import matplotlib as mpl
from matplotlib.figure import Figure

from artifacts.figure_style import STYLE, entitle

mpl.use("Agg")
mpl.rcParams.update(STYLE)


def new_figure(title: str, origin: str, width: float, height: float) -> Figure:
    """Return an empty figure.

    Args:
        title: what it shows, with the data and the number of pictures.
        origin: the command, and settings such as the seed; written below in small print.
        width: width in inches.
        height: height in inches between title and origin.
    """
    figure = Figure(figsize=(width, height))
    entitle(figure, title, origin)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, with the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
