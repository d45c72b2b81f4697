"""Draws a map as a figure, and as a page that shows the picture under the pointer."""

import io
import math
from collections.abc import Iterable
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analysis.answers import Floats
from analysis.figures import new_figure
from analysis.output import data_url, render_page
from artifacts.figure_style import STYLE_COUNT, add_legend, styles
from artifacts.pictures import Picture

MAX_LEGEND_CLASSES = 20
REST_STYLE = ("#dddddd", "o")
"""Style of the classes beyond `STYLE_COUNT`, and of the points of an earlier map."""
THUMBNAIL = 32
"""Maximum width and height of a thumbnail on the page, in pixels."""
MAX_THUMBNAILS = 20_000
"""Maximum number of pictures for which the page contains thumbnails."""


def draw(
    table: list[dict[str, Any]], heading: str, footer: str, earlier: Floats | None = None
) -> Figure:
    """Draw a scatter plot of a map's table, coloured by class, or by prediction without labels.

    Args:
        table: a row per picture with label, predicted, x and y.
        heading: title of the figure.
        footer: origin of the figure.
        earlier: N x 2 points of the map that the pictures were placed on.
    """
    figure = new_figure(heading, footer, width=10, height=8)
    axes = figure.add_subplot(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.set(xlabel="first t-SNE dimension (no unit)", ylabel="second t-SNE dimension (no unit)")
    if earlier is not None:
        x, y = earlier.T
        axes.scatter(
            x, y, 6, REST_STYLE[0], marker=REST_STYLE[1], linewidths=0, label="earlier map"
        )
    by = _key(table)
    names = np.array([row[by] for row in table])
    points = np.array([(row["x"], row["y"]) for row in table])
    area = float(np.clip(20_000 / len(table), 4, 36))
    classes = np.unique(names).tolist()
    for name, style in zip_longest(classes, islice(styles(), len(classes))):
        colour, marker = style or REST_STYLE
        x, y = points[names == name].T
        axes.scatter(x, y, area, colour, marker=marker, alpha=0.7, linewidths=0, label=name)
    kind = "class" if by == "label" else "predicted class"
    if len(classes) > MAX_LEGEND_CLASSES:
        styled = min(len(classes), STYLE_COUNT)
        axes.set_title(f"{styled} of {len(classes)} classes have a colour; any other is grey")
    elif classes != [""]:
        add_legend(figure, axes, title=kind)
        _name_groups(axes, names, points)
    return figure


def page(
    table: list[dict[str, Any]],
    pixels: Iterable[Picture],
    heading: str,
    footer: str,
    earlier: Floats | None = None,
) -> str:
    """Return a self-contained page with the map, which shows the picture under the pointer.

    Args:
        table: see `draw`.
        pixels: uint8 H x W x 3 of each row, read one at a time. With more than `MAX_THUMBNAILS`
            rows, no picture is read or shown.
        heading: title of the page.
        footer: origin of the map.
        earlier: see `draw`.
    """
    by = _key(table)
    classes = sorted({row[by] for row in table})
    colours = [colour for colour, _ in islice(styles(), len(classes))]
    colours += [REST_STYLE[0]] * (len(classes) - len(colours))
    columns = math.ceil(math.sqrt(len(table)))
    data = {
        "points": [
            [
                round(row["x"], 3),
                round(row["y"], 3),
                classes.index(row[by]),
                row["picture"],
                row["label"],
                row["predicted"],
            ]
            for row in table
        ],
        "earlier": [] if earlier is None else np.round(earlier, 3).tolist(),
        "classes": classes,
        "colours": colours,
        "columns": columns,
        "thumbnail": THUMBNAIL,
    }
    sprite = _sprite(pixels, len(table), columns) if len(table) <= MAX_THUMBNAILS else ""
    return render_page(
        "tsne_map/map.html.j2", heading=heading, footer=footer, data=data, sprite=sprite
    )


def _key(table: list[dict[str, Any]]) -> str:
    return "label" if any(row["label"] for row in table) else "predicted"


def _sprite(pixels: Iterable[Picture], count: int, columns: int) -> str:
    """Return thumbnails of all pictures, row by row, in one JPEG as a data URL."""
    sheet = Image.new("RGB", (columns * THUMBNAIL, math.ceil(count / columns) * THUMBNAIL))
    for place, picture in enumerate(pixels):
        image = Image.fromarray(picture)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        sheet.paste(image, (place % columns * THUMBNAIL, place // columns * THUMBNAIL))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=85)
    return data_url("image/jpeg", file.getvalue())


def _name_groups(axes: Axes, names: npt.NDArray[np.str_], points: npt.NDArray[np.float64]) -> None:
    """Write the name of each class where most of its points are, so that colour is not needed."""
    halo = patheffects.withStroke(linewidth=3, foreground="white")
    extent = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)  # (2, low and high)
    free = np.ones((10, 10), bool)
    for name in np.unique(names):
        counts, edges = np.histogramdd(points[names == name], free.shape, extent.tolist())
        cell = np.unravel_index(np.where(free, counts, -1).argmax(), free.shape)
        free[cell] = False  # names must not overlap
        x, y = ((edge[i] + edge[i + 1]) / 2 for edge, i in zip(edges, cell, strict=True))
        axes.text(x, y, name, ha="center", va="center", weight="bold", path_effects=[halo])
