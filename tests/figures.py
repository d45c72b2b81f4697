"""What a reader would miss in a figure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def unlabelled(figure: Figure) -> list[str]:
    """Return what a reader would miss in a figure: a title, an origin, names of axes.

    A plot whose axes are switched off, such as a picture, needs no names; a colour bar needs one.
    Panels that share an axis may leave its name to the panel at the edge.
    """
    missing = []
    if not figure.get_suptitle():
        missing.append("no title")
    if not figure.get_supxlabel():
        missing.append("no origin")
    plots = [axes for axes in figure.axes if axes.axison]
    for number, axes in enumerate(plots):
        bar = axes.get_label() == "<colorbar>"
        names = (axes.get_xlabel() or axes.get_ylabel()) if bar else True
        if not names:
            missing.append(f"the colour bar {number} has no name")
        if bar:
            continue
        for which, siblings in (
            ("x", axes.get_shared_x_axes().get_siblings(axes)),
            ("y", axes.get_shared_y_axes().get_siblings(axes)),
        ):
            if not any(_name(each, which) for each in siblings):
                missing.append(f"the {which} axis of plot {number} has no name")
    return missing


def _name(axes: Axes, which: str) -> str:
    return axes.get_xlabel() if which == "x" else axes.get_ylabel()
