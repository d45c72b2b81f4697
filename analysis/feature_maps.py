"""Feature maps of one picture in each layer of the served graph."""

import math
import re
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, this_command, write_report
from artifacts import DataError, VitrineError
from serving.client.predictor import Predictor
from serving.schemas import Layer

MAX_CHANNELS = 64
IMAGE_RANK = 3

Map = npt.NDArray[np.float32]


def read(
    predictor: Predictor, model: str, pictures: Pictures, wanted: tuple[str, ...]
) -> list[tuple[Layer, Map]]:
    """Read the feature maps of the first picture, in the order in which layers are computed.

    Args:
        predictor: a server or the artifacts.
        model: name of the model.
        pictures: pictures, of which the first is used.
        wanted: names of layers; if empty, all layers with height and width are read.

    Returns:
        (layer, float32 C x H x W) of each layer.

    Raises:
        VitrineError: there is no such layer, or it has no height and width.
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
    """Return the table, with a row per layer."""
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
    """Draw up to `MAX_CHANNELS` channels of a layer on one colour scale."""
    shown = maps[:MAX_CHANNELS]
    columns = math.ceil(math.sqrt(len(shown)))
    lines = math.ceil(len(shown) / columns)
    number = f", first {len(shown)}" if len(shown) < len(maps) else ""
    size = f"{maps.shape[0]} channels of {maps.shape[2]} x {maps.shape[1]}{number}"
    full = f"{heading}: {layer.name} ({layer.operator}), {size}, zeros {(maps == 0).mean():.1%}"
    figure = new_figure(full, footer, width=9, height=1.4 + 8 * lines / columns)
    low, high = float(maps.min()), float(maps.max())
    for axes in (grid := figure.subplots(lines, columns, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, channel in zip(grid.flat, shown, strict=False):
        image = axes.imshow(channel, cmap="cividis", vmin=low, vmax=max(high, low + 1e-9))
    figure.colorbar(image, ax=grid, shrink=0.6, label="activation (no unit)")
    return figure


@click.command("feature-maps")
@model_option
@common_options
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Layer to draw, by its name in the sparsity report; may be repeated. All by default.",
)
def command(
    model: str,
    options: CommonOptions,
    layers: tuple[str, ...],
) -> None:
    """Draw the feature maps of the first picture after each activation.

    Writes a PNG for each layer, feature-maps.csv (size, range and zeros of each) and
    feature-maps.json.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures(limit=1)
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
    folder = options.folder("feature-maps", (model,))
    write_report(folder, "feature-maps", {"feature-maps": rows(found)}, figures, about)
