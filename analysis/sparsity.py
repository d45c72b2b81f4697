"""Activation sparsity: the share of exact zeros after each activation of the served graph."""

from collections.abc import Sequence
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import VitrineError
from artifacts.figure_style import COLOURS, SLANTED, SMALL, add_legend, bar_style
from serving.client.chunks import Source, merge
from serving.client.predictor import Predictor
from serving.schemas import Inspection, Layer

MAX_LABELLED_BARS = 24


def measure(predictor: Predictor, models: Sequence[str], pictures: Pictures) -> list[Inspection]:
    """Inspect the pictures with every model; every picture has the same weight at any size.

    A picture that one model refuses is left out for all models.

    Raises:
        VitrineError: a model is unknown or has no activations; or the server does not answer.
        DataError: no picture can be read.
    """

    def question(images: list[Source]) -> list[Inspection]:
        return [predictor.inspect(model, images) for model in models]

    measured: list[Inspection] = []
    for _, found in pictures.ask("zeros of " + ", ".join(models), question):
        pairs = zip(measured, found, strict=True)
        measured = [merge(pair) for pair in pairs] if measured else found
    for inspection in measured:
        if not inspection.layers:
            raise VitrineError(f"model {inspection.model.name!r} has no activations to inspect.")
    return measured


def dead_channels(layer: Layer) -> int:
    """Return the number of channels that are exactly zero everywhere on every picture."""
    return layer.channel_zeros.count(1.0)


def rows(measured: Sequence[Inspection], *, synthetic: bool) -> list[dict[str, Any]]:
    """Return the table, with a row per model and layer; shares are 0..1.

    Args:
        measured: the result of `measure`.
        synthetic: whether the pictures are generated. A row counts as synthetic if the pictures or
            the model's training data are.
    """
    return [
        {
            "model": each.model.name,
            "depth": depth,
            "layer": layer.name,
            "operator": layer.operator,
            "zeros": layer.zeros,
            "channels": layer.channels,
            "dead": dead_channels(layer),
            "small": "" if layer.small is None else layer.small,
            "epsilon": "" if layer.small is None else each.epsilon,
            "pictures": each.pictures,
            "synthetic": synthetic or each.model.synthetic,
        }
        for each in measured
        for depth, layer in enumerate(each.layers, start=1)
    ]


def draw(measured: Sequence[Inspection], heading: str, footer: str) -> Figure:
    """Draw the share of zeros above the number of dead channels, as grouped bars over depth."""
    depth = max(len(each.layers) for each in measured)
    bars = depth * len(measured)
    figure = new_figure(heading, footer, width=float(np.clip(4 + 0.18 * bars, 8, 16)), height=6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for place, each in enumerate(measured):
        width = 0.8 / len(measured)
        x = np.arange(1, len(each.layers) + 1) + (place - (len(measured) - 1) / 2) * width
        colour = COLOURS[place % len(COLOURS)]
        numbers = [dead_channels(layer) for layer in each.layers]
        label = f"{each.model.name} (dead channels: {sum(numbers)})"
        shares = [100 * layer.zeros for layer in each.layers]
        tops = upper.bar(x, shares, width, label=label, **bar_style(place))
        smooth = [(at, 100 * y.small) for at, y in zip(x, each.layers, strict=True) if y.small]
        if smooth:
            label = f"{each.model.name}: values within {each.epsilon:g} of zero"
            upper.plot(*zip(*smooth, strict=True), "D", color=colour, mec="black", label=label)
        counts = lower.bar(x, numbers, width, **bar_style(place))
        if bars <= MAX_LABELLED_BARS:
            upper.bar_label(tops, fmt="%.0f", padding=8 if smooth else 2)
            lower.bar_label(counts)
    upper.set(ylabel="exact zeros (%)", ylim=(0, 112), yticks=range(0, 101, 20))
    add_legend(figure, upper)
    lower.set(ylabel="dead channels", xlabel="activation layer, from input to output")
    lower.set_ylim(0, 1.3 * max(1.0, lower.dataLim.y1))
    for axis in (lower.xaxis, lower.yaxis):
        axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))
    names = {tuple(layer.name for layer in each.layers) for each in measured}
    if bars <= MAX_LABELLED_BARS and len(names) == 1:
        labels = [f"{number}  {name}" for number, name in enumerate(names.pop(), start=1)]
        lower.set_xticks(range(1, depth + 1), labels, fontsize=SMALL, **SLANTED)
    return figure


@click.command("sparsity")
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Model to analyse; repeat the option to compare several models.",
)
@common_options
def command(models: tuple[str, ...], options: CommonOptions) -> None:
    """Measure the zeros after each activation, by layer.

    These are the share of exact zeros, and the number of dead channels, which are zero everywhere
    on every picture. For smooth activations, such as GELU, the share of values near zero is added.

    Writes sparsity.png, sparsity.csv (a row per model and layer) and sparsity.json (models, data).
    """
    predictor = options.predictor()
    infos = [predictor.model_info(name) for name in dict.fromkeys(models)]
    pictures = options.pictures()
    measured = measure(predictor, [info.name for info in infos], pictures)
    report_skipped(pictures)
    heading = title("Zeros after each activation", infos, pictures)
    write_report(
        options.folder("sparsity", tuple(info.name for info in infos)),
        "sparsity",
        {"sparsity": rows(measured, synthetic=pictures.synthetic)},
        {"sparsity": draw(measured, heading, this_command())},
        record(infos, pictures, {}),
    )
