"""Asks for what no file says about the preprocessing of a network."""

import sys
from dataclasses import replace
from typing import Any

import click

from artifacts.imports.inputs import ForeignInput
from artifacts.imports.parameters import per_channel, scale, size
from artifacts.imports.settings import PRESETS, Settings

OTHER = "other"
RULES = {
    "squash": "to the size of the graph, without keeping the aspect ratio",
    "crop": "the shorter side to a length, and then the centre is cut out",
    "pad": "into the size of the graph, with a border around",
    "none": "not at all",
}


def interactive() -> bool:
    """Whether somebody can answer."""
    return sys.stdin.isatty()


def complete(settings: Settings, foreign: ForeignInput) -> Settings:
    """Ask for what is missing, on a terminal.

    Raises:
        click.UsageError: something is missing, and there is no terminal; the message names the
            options to give.
    """
    if not settings.missing(foreign):
        return settings
    if not interactive():
        raise click.UsageError(
            "how the model's pictures were prepared is not known, and a wrong guess gives wrong "
            f"answers; give {'; '.join(settings.missing(foreign))}; or give --preset "
            f"{'|'.join(PRESETS)}, or --config FILE with the configuration of timm or Hugging Face."
        )
    click.echo(
        "How pictures were prepared when the model was trained is not known. Answers are only "
        "right if it is the same here. Common ways:\n"
    )
    for name, (meaning, _) in PRESETS.items():
        click.echo(f"  {name:12} {meaning}")
    click.echo(f"  {OTHER:12} none of these; each setting is asked for\n")
    preset = click.prompt("Preset", type=click.Choice([*PRESETS, OTHER]))
    if preset != OTHER:
        settings = PRESETS[preset][1].under(settings)
    return _ask_each(settings, foreign)


def ask_classes() -> str:
    """Ask for the names of the classes, on a terminal.

    Raises:
        click.UsageError: there is no terminal.
    """
    if not interactive():
        raise click.UsageError("a classifier needs class names; give them with --classes.")
    answer: str = click.prompt(
        "Class names in the order of the outputs, separated by commas, or a file with one per line"
    )
    return answer


def _ask_each(settings: Settings, foreign: ForeignInput) -> Settings:
    questions: tuple[tuple[str, str, str, Any], ...] = (
        ("--resize ", "resize", "How pictures are resized", click.Choice(list(RULES))),
        (
            "--size ",
            "size",
            "Size of the pictures that the graph takes, HEIGHTxWIDTH",
            size,
        ),
        ("--resize-to ", "resize_to", "Length of the shorter side before the crop, in pixels", int),
        (
            "--interpolation ",
            "interpolation",
            "Interpolation",
            click.Choice(["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"]),
        ),
        ("--scale ", "scale", "Range to which 0 to 255 is scaled", scale),
        ("--mean ", "mean", "Mean of R,G,B after scaling", per_channel),
        ("--std ", "std", "Standard deviation of R,G,B after scaling", per_channel),
    )
    for option, field, question, kind in questions:
        if any(needed.startswith(option) for needed in settings.missing(foreign)):
            if field == "resize":
                for name, meaning in RULES.items():
                    click.echo(f"  {name:12} {meaning}")
            settings = replace(settings, **{field: click.prompt(question, type=kind)})
            if field == "scale":
                settings = _ask_normalisation(settings)
    return settings


def _ask_normalisation(settings: Settings) -> Settings:
    mean = click.prompt("Mean of R,G,B after scaling", value_proc=per_channel, default="0,0,0")
    std = click.prompt(
        "Standard deviation of R,G,B after scaling", value_proc=per_channel, default="1,1,1"
    )
    return replace(settings, mean=mean, std=std)
