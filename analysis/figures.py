"""Creates the figures of analyses in the common style. They are drawn without a display."""

import matplotlib as mpl
from matplotlib.figure import Figure

from artifacts.figure_style import STYLE, entitle

mpl.rcParams.update(STYLE)


def new_figure(title: str, footer: str, width: float = 9.0, height: float = 6.0) -> Figure:
    """Return an empty figure with a title, and with a small footer that states its origin.

    Args:
        title: models, data and sample size.
        footer: command and settings.
        width: width in inches.
        height: height in inches between title and footer.
    """
    figure = Figure(figsize=(width, height))
    entitle(figure, title, footer)
    return figure
