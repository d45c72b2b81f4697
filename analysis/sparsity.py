"""Activation sparsity: the share of exact zeros after each activation of what is served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import COLOURS, new_figure
from analysis.inputs import Pictures, Sent
from analysis.options import common_options, read_pictures, report_folder
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import VitrineError
from serving.client import Inspection, ModelInfo, Predictor, connect

MOST_NAMED_BARS = 24


@dataclass(frozen=True)
class LayerSparsity:
    """One activation layer over all pictures."""

    name: str
    operator: str
    """ONNX operator of the activation."""
    channel_zeros: npt.NDArray[np.float64]
    """Share of exact zeros in each channel, 0..1: the mean over pictures."""

    @property
    def zeros(self) -> float:
        """Share of exact zeros among all outputs, 0..1."""
        return float(self.channel_zeros.mean())

    @property
    def dead(self) -> int:
        """Number of channels that are exactly zero everywhere on every picture."""
        return int((self.channel_zeros == 1.0).sum())


@dataclass(frozen=True)
class ModelSparsity:
    """All activation layers of one model, from input to output."""

    model: ModelInfo
    layers: list[LayerSparsity]


def measure(
    predictor: Predictor, models: Sequence[ModelInfo], pictures: Pictures
) -> list[ModelSparsity]:
    """Inspect the pictures with every model; a picture counts the same whatever its size.

    Raises:
        VitrineError: a model has no activation layers, or the server does not answer.
        DataError: no picture can be read.
    """
    totals: dict[str, dict[tuple[str, str], npt.NDArray[np.float64]]] = {m.name: {} for m in models}

    def question(images: list[Sent]) -> list[Inspection]:
        return [predictor.inspect(model.name, images) for model in models]

    work = "zeros of " + ", ".join(model.name for model in models)
    for places, inspections in pictures.ask(work, question):
        for model, inspection in zip(models, inspections, strict=True):
            total = totals[model.name]
            for layer in inspection.layers:
                key = layer.name, layer.operator
                total[key] = total.get(key, 0.0) + len(places) * np.array(layer.channel_zeros)
    for model in models:
        if not totals[model.name]:
            raise VitrineError(f"model {model.name!r} has no activation layers to look into.")
    used = len(pictures) - len(pictures.skipped)
    return [
        ModelSparsity(
            model,
            [LayerSparsity(*key, total / used) for key, total in totals[model.name].items()],
        )
        for model in models
    ]


def rows(measured: Sequence[ModelSparsity], pictures: Pictures) -> list[dict[str, Any]]:
    """The table: one row per model and layer; shares are 0..1."""
    return [
        {
            "model": each.model.name,
            "depth": depth,
            "layer": layer.name,
            "operator": layer.operator,
            "zeros": layer.zeros,
            "channels": len(layer.channel_zeros),
            "dead": layer.dead,
            "pictures": len(pictures) - len(pictures.skipped),
            "synthetic": each.model.synthetic or pictures.synthetic,
        }
        for each in measured
        for depth, layer in enumerate(each.layers, start=1)
    ]


def draw(measured: Sequence[ModelSparsity], heading: str, footer: str) -> Figure:
    """Grouped bars over depth: share of zeros above, number of dead channels below."""
    depth = max(len(each.layers) for each in measured)
    bars = depth * len(measured)
    figure = new_figure(heading, footer, width=float(np.clip(4 + 0.25 * bars, 8, 24)), height=7)
    zeros, dead = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for number, each in enumerate(measured):
        width = 0.8 / len(measured)
        x = np.arange(1, len(each.layers) + 1) + (number - (len(measured) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        label = f"{each.model.name} (dead channels: {sum(layer.dead for layer in each.layers)})"
        shares = [100 * layer.zeros for layer in each.layers]
        tops = zeros.bar(x, shares, width, color=colour, label=label)
        counts = dead.bar(x, [layer.dead for layer in each.layers], width, color=colour)
        if bars <= MOST_NAMED_BARS:
            zeros.bar_label(tops, fmt="%.0f", fontsize=8)
            dead.bar_label(counts, fontsize=8)
    zeros.set(ylabel="exact zeros (%)", ylim=(0, 105))
    zeros.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    dead.set(ylabel="dead channels", xlabel="activation layer, from input to output")
    dead.margins(y=0.2)
    for axis in (dead.xaxis, dead.yaxis):
        axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))
    names = {tuple(layer.name for layer in each.layers) for each in measured}
    if bars <= MOST_NAMED_BARS and len(names) == 1:
        labels = [f"{place}\n{name}" for place, name in enumerate(names.pop(), start=1)]
        dead.set_xticks(range(1, depth + 1), labels, fontsize=8)
    return figure


@click.command("sparsity")
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Model to look into; repeat it to compare several.",
)
@common_options
def command(
    models: tuple[str, ...],
    images: Path | None,
    dataset: str | None,
    limit: int | None,
    url: str | None,
    out: Path | None,
) -> None:
    """Zeros after each activation, by layer.

    The share of exact zeros, and the number of dead channels: those that are zero everywhere on
    every picture. Writes sparsity.png, sparsity.csv (a row per model and layer) and sparsity.json (settings,
    models, data).
    """
    predictor = connect(url)
    infos = [predictor.model_info(name) for name in dict.fromkeys(models)]
    pictures = read_pictures(images, dataset, limit)
    measured = measure(predictor, infos, pictures)
    report_skipped(pictures)
    heading = title("Zeros after each activation", infos, pictures)
    write_report(
        report_folder(out, "sparsity", tuple(info.name for info in infos)),
        "sparsity",
        rows(measured, pictures),
        draw(measured, heading, this_command()),
        record(infos, pictures, {}),
    )
