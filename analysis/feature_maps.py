"""What each layer makes of one picture: the feature maps of the served graph."""

import math
import re
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import Asked, common_options, model_option
from analysis.output import record, this_command, write_report
from artifacts import DataError, VitrineError
from serving.client.predictor import Predictor
from serving.schemas import Layer

MOST_CHANNELS = 64
IMAGE_RANK = 3

Map = npt.NDArray[np.float32]


def read(
    predictor: Predictor, model: str, pictures: Pictures, wanted: tuple[str, ...]
) -> list[tuple[Layer, Map]]:
    """Layers in the order of computing, each with its maps of the first picture.

    Args:
        predictor: server or artifacts.
        model: its name.
        pictures: the first is looked at.
        wanted: names of layers; all that have height and width if empty.

    Returns:
        (layer, float32 C x H x W) of each.

    Raises:
        VitrineError: no such layer, or one without height and width.
    """
    picture = pictures.pixels(0)
    layers = {layer.name: layer for layer in predictor.inspect(model, [picture]).layers}
    unknown = [name for name in wanted if name not in layers]
    if unknown:
        raise VitrineError(
            f"{model} has no layer {unknown[0]!r}; there are: {', '.join(layers) or 'none'}."
        )
    found = []
    for name in wanted or layers:
        maps = predictor.feature_map(model, picture, name)
        if maps.ndim == IMAGE_RANK:
            found.append((layers[name], maps))
        elif wanted:
            raise VitrineError(f"layer {name!r} of {model} has no height and width to draw.")
    if not found:
        raise VitrineError(f"{model} has no activations with height and width to draw.")
    return found


def rows(found: list[tuple[Layer, Map]]) -> list[dict[str, Any]]:
    """The table: one row per layer."""
    return [
        {
            "layer": layer.name,
            "operator": layer.operator,
            "channels": maps.shape[0],
            "height": maps.shape[1],
            "width": maps.shape[2],
            "least": float(maps.min()),
            "greatest": float(maps.max()),
            "mean": float(maps.mean(dtype=np.float64)),
            "zeros": float((maps == 0).mean()),
        }
        for layer, maps in found
    ]


def draw(layer: Layer, maps: Map, heading: str, footer: str) -> Figure:
    """A layer's channels, up to `MOST_CHANNELS`, on one scale of brightness."""
    shown = maps[:MOST_CHANNELS]
    columns = math.ceil(math.sqrt(len(shown)))
    lines = math.ceil(len(shown) / columns)
    number = f", first {len(shown)}" if len(shown) < len(maps) else ""
    size = f"{maps.shape[0]} channels of {maps.shape[2]} x {maps.shape[1]}{number}"
    words = f"{heading}: {layer.name} ({layer.operator}), {size}, zeros {(maps == 0).mean():.1%}"
    figure = new_figure(words, footer, width=9, height=1.4 + 8 * lines / columns)
    low, high = float(maps.min()), float(maps.max())
    for axes in (grid := figure.subplots(lines, columns, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, channel in zip(grid.flat, shown, strict=False):
        image = axes.imshow(channel, cmap="cividis", vmin=low, vmax=max(high, low + 1e-9))
    figure.colorbar(image, ax=grid, shrink=0.6)
    return figure


@click.command("feature-maps")
@model_option
@common_options
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME", help="As sparsity names them; else all."
)
def command(
    model: str,
    asked: Asked,
    layers: tuple[str, ...],
) -> None:
    """What each activation makes of the first picture.

    Writes a PNG for each layer, feature-maps.csv (size, range and zeros of each) and
    feature-maps.json.
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    pictures = asked.pictures(limit=1)
    try:
        found = read(predictor, model, pictures, layers)
    except DataError as error:
        raise DataError(f"the first picture cannot be used: {error}") from None
    heading = f"{info.name}, picture {pictures.names[0]} of {pictures.source}"
    figures = {
        f"{depth:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', layer.name)}": draw(
            layer, maps, heading, this_command()
        )
        for depth, (layer, maps) in enumerate(found, start=1)
    }
    about = record([info], pictures, {"picture": pictures.names[0]})
    folder = asked.folder("feature-maps", (model,))
    write_report(folder, "feature-maps", {"feature-maps": rows(found)}, figures, about)
