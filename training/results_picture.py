"""The picture of all studies: the reported figure of each system against the rebuilt one."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from artifacts.figure_style import SMALL, SOFT, add_legend, line_style
from training.plots import new_figure

SIDE = 7.5
"""Width and height of the plot, in inches."""
LETTER, LINE, MARK = 0.0082, 0.019, 0.011
"""Width of a letter, height of a line, and radius of a mark, in units of the axes."""
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Look of the box behind a name, which hides the lines that it crosses."""


@dataclass(frozen=True)
class Point:
    """A system with both accuracies, which lie in 0..1."""

    study: str
    system: str
    reported: float
    rebuilt: float
    dataset: str
    pictures: int
    """Number of pictures that the rebuilt accuracy was measured on."""


def draw(points: Sequence[Point], command: str) -> Figure:
    """Draw a point for each system, with its name beside it and one marker per study.

    Args:
        points: at least one.
        command: the command that makes the picture.
    """
    title = f"Reported and rebuilt accuracy of {len(points)} systems"
    origin = f"{command}   |   above the line, the rebuilt system is better"
    figure = new_figure(title, origin, width=SIDE + 1.5, height=SIDE)
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1))
    axes.set(xlabel="reported accuracy (0 to 1)", ylabel="accuracy rebuilt here (0 to 1)")
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", label="as reported")
    for place, study in enumerate(dict.fromkeys(point.study for point in points)):
        own = [point for point in points if point.study == study]
        look = line_style(place) | {"linestyle": "", "markersize": 7}
        x, y = [point.reported for point in own], [point.rebuilt for point in own]
        axes.plot(x, y, label=f"{study}: {_sample(own)}", **look)
    for point, (left, middle, side) in zip(points, place_names(points), strict=True):
        name = short_name(point)
        look = {"ha": side, "va": "center", "fontsize": SMALL, "bbox": BEHIND}
        axes.text(left, middle, name, **look)
    axes.grid()
    add_legend(figure, axes)
    return figure


def short_name(point: Point) -> str:
    """Return the name of a system without that of its study."""
    return point.system.removeprefix(f"{point.study}-")


def place_names(points: Sequence[Point]) -> list[tuple[float, float, str]]:
    """Return where the name of each point stands: x, y, and which end of it is there.

    A name takes the first place beside its point that covers no point and no earlier name, or the
    place to its right if there is none.
    """
    taken = [_box(p.reported - MARK, p.rebuilt, 2 * MARK, 2 * MARK) for p in points]
    places = []
    for point in points:
        width = LETTER * len(short_name(point))
        options = [
            (point.reported + sign * (MARK + 0.006), point.rebuilt + step * LINE, side)
            for step in (0, 1, -1, 2, -2, 3, -3)
            for sign, side in ((1, "left"), (-1, "right"))
        ]
        boxes = [_box(x if side == "left" else x - width, y, width, LINE) for x, y, side in options]
        free = (
            number
            for number, box in enumerate(boxes)
            if box[0] >= 0 and box[2] <= 1 and not any(_overlap(box, other) for other in taken)
        )
        chosen = next(free, 0)
        taken.append(boxes[chosen])
        places.append(options[chosen])
    return places


def _box(left: float, middle: float, width: float, height: float) -> tuple[float, ...]:
    return left, middle - height / 2, left + width, middle + height / 2


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _sample(points: Sequence[Point]) -> str:
    """Return the data of a study and on how many pictures its systems were measured."""
    counts = sorted({point.pictures for point in points})
    number = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    return f"{', '.join(sorted({point.dataset for point in points}))}, {number} pictures"
