"""The common style: what every figure gets, colours that stay apart, legends that cover nothing."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from artifacts.figure_style import COLOURS, SMALL, add_legend, describe, line_style
from tests.figures import unlabelled
from training.plots import new_figure

DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
"""What deuteranopes see of linear RGB (Machado et al. 2009, severity 1)."""


def lab(colour: str, seen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIELAB of a colour under D65, after its linear RGB went through a 3 x 3 matrix."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def drawn(lines: int = 3) -> tuple[Figure, Axes]:
    """A figure of labelled lines with a long title and origin."""
    figure = new_figure("a long title " * 20, "a long command " * 40, width=6, height=4)
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss")
    for place in range(lines):
        axes.plot([0, 1], [place, place], label=f"system number {place}", **line_style(place))
    return figure, axes


def test_colours_stay_apart_in_grey_and_with_colour_blindness() -> None:
    for one, other in itertools.combinations(COLOURS[:3], 2):
        first, second = lab(one, np.eye(3)), lab(other, np.eye(3))
        assert abs(first[0] - second[0]) > 15
        assert np.linalg.norm(lab(one, DEUTERANOPIA) - lab(other, DEUTERANOPIA)) > 20


def test_lines_differ_without_colours() -> None:
    looks = [(line_style(n)["marker"], line_style(n)["linestyle"]) for n in range(20)]
    assert len(set(looks)) == 20


@pytest.mark.parametrize("lines", [1, 12])
def test_legend_title_and_origin_cover_nothing(lines: int) -> None:
    figure, axes = drawn(lines)
    add_legend(figure, axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    parts = [
        next(t for t in figure.texts if t.get_text() == figure.get_supxlabel()),
        figure.legends[0],
        axes,
        next(t for t in figure.texts if t.get_text() == figure.get_suptitle()),
    ]
    boxes = [box for part in parts if (box := part.get_tightbbox(renderer))]
    assert len(boxes) == len(parts)
    assert boxes[0].y0 >= 0
    for lower, upper in itertools.pairwise(boxes):
        assert lower.y1 <= upper.y0 + 1  # pixels
    assert boxes[-1].y1 <= figure.bbox.height
    assert axes.get_window_extent().height > 150  # of 400: what is around took no space of it


def test_nothing_is_smaller_than_the_small_print() -> None:
    figure, axes = drawn()
    add_legend(figure, axes)
    FigureCanvasAgg(figure).draw()
    written = [*figure.texts, *figure.legends[0].get_texts(), axes.xaxis.label]
    assert min(text.get_fontsize() for text in [*written, *axes.get_xticklabels()]) >= SMALL


def test_a_description_names_axes_and_lines() -> None:
    figure, axes = drawn(2)
    add_legend(figure, axes)
    words = describe(figure)
    assert words.startswith("a long title")
    assert "loss against epoch" in words
    assert "Shown are: system number 0; system number 1." in words


def test_what_a_reader_would_miss_is_found() -> None:
    figure, axes = drawn()
    assert unlabelled(figure) == []
    axes.set_xlabel("")
    assert unlabelled(figure) == ["the x axis of plot 0 has no name"]
    figure.colorbar(axes.scatter([0], [0], c=[1]))
    assert "the colour bar 1 has no name" in unlabelled(figure)
    assert "no title" in unlabelled(Figure())
