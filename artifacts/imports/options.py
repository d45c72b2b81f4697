"""The options of `vitrine import` that are about preprocessing, and the groups of its help."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from artifacts.imports.parameters import colour, per_channel, scale, sides, size
from artifacts.imports.settings import PRESETS, Settings

GROUPS = {
    "Graph": ("output", "activation", "layout"),
    "Preprocessing": (
        "config",
        "preset",
        "resize",
        "size",
        "resize_to",
        "crop_pct",
        "interpolation",
        "antialias",
        "pad_colour",
        "native",
        "scale",
        "mean",
        "std",
        "colour_order",
    ),
    "Check": ("picture", "expect", "tolerance"),
}
"""Parameters by the heading that they have in the help; all others come first."""


class GroupedCommand(click.Command):
    """A command whose help lists its options in `GROUPS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups, one after the other."""
        grouped = {name for names in GROUPS.values() for name in names}
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        general = tuple(option.name for option in options if option.name not in grouped)
        for heading, names in {"Options": general, **GROUPS}.items():
            records = [option.get_help_record(ctx) for option in options if option.name in names]
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record is not None])


OPTIONS = (
    click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="timm's config.json or Hugging Face's preprocessor_config.json; by default one beside "
        "FILE.",
    ),
    click.option("--preset", type=click.Choice(list(PRESETS)), help="Common preprocessing."),
    click.option(
        "--resize",
        type=click.Choice(["squash", "crop", "pad", "none"]),
        help="How a picture gets the size of the graph.",
    ),
    click.option("--size", type=size, metavar="HxW", help="Size of the graph's pictures."),
    click.option(
        "--resize-to",
        type=size,
        metavar="N|HxW",
        help="Shorter side before the crop, or size.",
    ),
    click.option(
        "--crop-pct",
        type=click.FloatRange(0, 1, min_open=True),
        help="Side after the crop, as a share of that before.",
    ),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
        help="Filter of the resizing.",
    ),
    click.option(
        "--antialias/--no-antialias",
        default=None,
        help="Average where pictures shrink, as Pillow does and TensorFlow and OpenCV do not.",
    ),
    click.option("--pad-colour", type=colour, metavar="R,G,B", help="Border, of 0 to 255."),
    click.option(
        "--native",
        type=sides,
        metavar="LOW,HIGH",
        help="For graphs of any size: a picture keeps its size if the square with its area has a "
        "side in this range; others are rescaled into it. Default: 8,512.",
    ),
    click.option("--scale", type=scale, metavar="0-1|0-255|-1-1", help="Range of pixel values."),
    click.option("--mean", type=per_channel, metavar="R,G,B", help="Subtracted after scaling."),
    click.option("--std", type=per_channel, metavar="R,G,B", help="Divisor after that."),
    click.option(
        "--colour-order",
        type=click.Choice(["rgb", "bgr"]),
        help="Order of the channels, and of --mean and --std.",
    ),
)


def preprocessing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of preprocessing to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def settings_of(given: dict[str, Any]) -> Settings:
    """Return the settings of the options, those of the preset under the others.

    Args:
        given: values of the options by name.

    Raises:
        click.UsageError: the options contradict one another.
    """
    names = set(Settings.__dataclass_fields__) & given.keys()
    values = {name: given[name] for name in names}
    if given["native"] is not None:
        if values["resize"] not in {None, "none"}:
            raise click.UsageError("--native is for --resize none; leave one of them out.")
        values["resize"] = "none"
    if values["resize"] == "none" and (values["size"] or values["resize_to"]):
        raise click.UsageError(
            "--resize none keeps sizes; leave out --size and --resize-to, or give another rule."
        )
    if values["resize_to"] and values["crop_pct"]:
        raise click.UsageError("--resize-to and --crop-pct say the same; leave one of them out.")
    before = values["resize_to"]
    if before is not None and values["resize"] in {None, "crop"} and before[0] == before[1]:
        values["resize_to"] = before[0]
    if values["pad_colour"] is not None:
        values["pad_colour"] = tuple(int(value) for value in values["pad_colour"])
    settings = Settings(**values)
    return PRESETS[given["preset"]][1].under(settings) if given["preset"] else settings
