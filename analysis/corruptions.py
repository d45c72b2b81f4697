"""Accuracy and confidence under change: other sizes and shapes, and five kinds of damage."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageEnhance, ImageFilter

from analysis.answers import classify
from analysis.figures import COLOURS, new_figure
from analysis.inputs import Pictures
from analysis.options import Asked, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import InputPolicy
from artifacts.datasets.base import Picture
from serving.client.predictor import Predictor
from serving.schemas import ModelInfo

Change = Callable[[Picture], Picture]
SCALES = (0.625, 0.75, 0.875, 1, 1.25, 1.5, 2, 3, 4, 7)
OBLONG = 0.625
UNKNOWN_SIDE = 32
"""Side asked about first of a model that takes any as it is."""
SEVERITIES = (1, 2, 3, 4, 5)


def resize(width: int, height: int, picture: Picture) -> Picture:
    """Rescale to a size in px, aspect ratio not kept (bicubic)."""
    size = (width, height)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def noise(severity: int, picture: Picture) -> Picture:
    """Add Gaussian noise of standard deviation 8 to 40 of 255; the same for the same picture."""
    random = np.random.default_rng(int(picture.sum(dtype=np.int64)))
    noisy = picture + random.normal(0, 8 * severity, picture.shape)
    return noisy.clip(0, 255).round().astype(np.uint8)


def blur(severity: int, picture: Picture) -> Picture:
    """Blur by a Gaussian whose deviation is 1 % to 5 % of the shorter side."""
    radius = 0.01 * severity * min(picture.shape[:2])
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def jpeg(severity: int, picture: Picture) -> Picture:
    """Compress as JPEG of quality 50, 30, 20, 12 or 7."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=(50, 30, 20, 12, 7)[severity - 1])
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def brighten(severity: int, picture: Picture) -> Picture:
    """Multiply brightness by 1.2 to 2."""
    image = ImageEnhance.Brightness(Image.fromarray(picture)).enhance(1 + 0.2 * severity)
    return np.asarray(image)


def rotate(severity: int, picture: Picture) -> Picture:
    """Rotate by 6 to 30 degrees; corners are filled with the mean colour."""
    fill = tuple(int(value) for value in picture.mean(axis=(0, 1)))
    image = Image.fromarray(picture).rotate(6 * severity, Image.Resampling.BICUBIC, fillcolor=fill)
    return np.asarray(image)


DAMAGES: Mapping[str, Callable[[int, Picture], Picture]] = {
    "noise": noise,
    "blur": blur,
    "jpeg": jpeg,
    "brightness": brighten,
    "rotation": rotate,
}


@dataclass(frozen=True)
class Point:
    """What a model reaches under one change."""

    change: str
    level: str
    pictures: int
    accuracy: float
    confidence: float
    """Mean probability of the predicted class; above the accuracy, the model is over-confident."""


def measure(
    predictor: Predictor,
    info: ModelInfo,
    pictures: Pictures,
    changes: Sequence[tuple[str, str, Change | None]],
) -> list[Point]:
    """Classify the pictures under each change.

    Args:
        predictor: server or artifacts.
        info: of the model.
        pictures: with labels.
        changes: (kind, level, what is done to a picture; None for nothing).
    """
    points = []
    for kind, level, change in changes:
        answers = classify(predictor, info, replace(pictures, change=change))
        points.append(
            Point(
                change=kind,
                level=level,
                pictures=len(answers.labels),
                accuracy=float(answers.right.mean()),
                confidence=float(answers.probabilities.max(axis=1).mean()),
            )
        )
    return points


def rows(points: Sequence[Point], *, synthetic: bool) -> list[dict[str, Any]]:
    """The table: one row per change."""
    return [{**vars(point), "synthetic": synthetic} for point in points]


def draw_sizes(points: Sequence[Point], heading: str, footer: str) -> Figure:
    """Accuracy and confidence of each size, in the order given."""
    figure = new_figure(heading, footer, width=max(7, 1.5 + 0.7 * len(points)), height=5)
    axes = figure.add_subplot(ylim=(0, 100), ylabel="%", xlabel="width x height, px")
    x = np.arange(len(points))
    axes.bar(x, [100 * p.accuracy for p in points], 0.7, color=COLOURS[0], label="accuracy")
    confidence = [100 * p.confidence for p in points]
    axes.plot(x, confidence, "D", color=COLOURS[2], label="mean probability")
    for place, point in enumerate(points):
        axes.text(place, 2, f"{100 * point.accuracy:.1f}", ha="center", fontsize=8, color="white")
    axes.set_xticks(x, [point.level for point in points], rotation=45, ha="right")
    figure.legend(loc="outside lower right", ncols=2, frameon=False)
    return figure


def draw_damages(points: Sequence[Point], heading: str, footer: str) -> Figure:
    """Accuracy (line) and confidence (dashes) over severity, a panel for each damage."""
    figure = new_figure(heading, footer, width=2.4 * len(DAMAGES), height=4)
    panels = figure.subplots(1, len(DAMAGES), sharey=True)
    whole = points[0]
    for axes, kind in zip(panels, DAMAGES, strict=True):
        line = [whole, *(point for point in points if point.change == kind)]
        severity = range(len(line))
        axes.plot(severity, [100 * p.accuracy for p in line], "o-", color=COLOURS[0])
        axes.plot(severity, [100 * p.confidence for p in line], "D--", color=COLOURS[2])
        axes.set(title=kind, xlabel="severity", ylim=(0, 100), xticks=severity)
    panels[0].set_ylabel("%")
    panels[0].legend(["accuracy", "mean probability"], loc="lower left", frameon=False, fontsize=8)
    return figure


def worst(points: Sequence[Point]) -> str:
    """The change that costs most, in words."""
    least = min(points, key=lambda point: point.accuracy)
    return (
        f"accuracy {points[0].accuracy:.4f} at first ({points[0].change} {points[0].level}); least "
        f"{least.accuracy:.4f} ({least.change} {least.level}, where the mean probability is "
        f"{least.confidence:.4f})"
    )


def sizes_around(policy: InputPolicy) -> list[tuple[int, int]]:
    """Squares smaller and larger than what a model is shown, and two oblongs; (width, height)."""
    width, height = policy.target(policy.accepted_side[1], policy.accepted_side[1])
    whole = policy.native_side is None and policy.fixed_size is None
    side = UNKNOWN_SIDE if whole else max(width, height)
    squares = [(round(scale * side),) * 2 for scale in SCALES]
    short = round(OBLONG * side)
    least, most = policy.accepted_side
    return [
        (w, h)
        for w, h in [*squares, (side, short), (short, side)]
        if least <= min(w, h) and max(w, h) <= most
    ]


def parse_sizes(
    _: click.Context, __: click.Parameter, text: str | None
) -> list[tuple[int, int]] | None:
    """WIDTHxHEIGHT,… in px.

    Raises:
        BadParameter: not written so.
    """
    if text is None:
        return None
    try:
        pairs = [tuple(int(side) for side in part.split("x")) for part in text.split(",")]
        sizes = [(width, height) for width, height in pairs]
    except ValueError:
        sizes = []
    if not sizes or min(map(min, sizes)) < 1:
        raise click.BadParameter(
            f"{text!r}: write WIDTHxHEIGHT, both 1 or more, as in 20x20,32x20."
        )
    return sizes


@click.command("sizes")
@model_option
@common_options
@click.option(
    "--sizes",
    callback=parse_sizes,
    metavar="WIDTHxHEIGHT,…",
    help="In px. Otherwise 0.6 to 7 times the side that the model is shown, and two oblongs.",
)
def sizes_command(
    model: str,
    asked: Asked,
    sizes: list[tuple[int, int]] | None,
) -> None:
    """Accuracy and confidence over picture size and shape.

    Writes sizes.png, sizes.csv and sizes.json. All pictures are rescaled (bicubic) to each size
    before they are asked about; what the model's input policy then does is part of the answer.
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    pictures = asked.pictures()
    changes: list[tuple[str, str, Change | None]] = [
        ("size", f"{width}x{height}", partial(resize, width, height))
        for width, height in sizes or sizes_around(info.input)
    ]
    points = measure(predictor, info, pictures, changes)
    report_skipped(pictures)
    heading = title("Accuracy over picture size", [info], pictures)
    write_report(
        asked.folder("sizes", (model,)),
        "sizes",
        {"sizes": rows(points, synthetic=info.synthetic or pictures.synthetic)},
        {"sizes": draw_sizes(points, heading, this_command())},
        record([info], pictures, {}),
        [worst(points)],
    )


@click.command("robustness")
@model_option
@common_options
def robustness_command(model: str, asked: Asked) -> None:
    """Accuracy under noise, blur, JPEG, brightness and rotation.

    Writes robustness.png, robustness.csv and robustness.json: the pictures as they are, then each
    damage at five severities.
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    pictures = asked.pictures()
    changes: list[tuple[str, str, Change | None]] = [("none", "0", None)]
    for kind, damage in DAMAGES.items():
        changes += [(kind, str(severity), partial(damage, severity)) for severity in SEVERITIES]
    points = measure(predictor, info, pictures, changes)
    report_skipped(pictures)
    heading = title("Accuracy under damage", [info], pictures)
    write_report(
        asked.folder("robustness", (model,)),
        "robustness",
        {"robustness": rows(points, synthetic=info.synthetic or pictures.synthetic)},
        {"robustness": draw_damages(points, heading, this_command())},
        record([info], pictures, {}),
        [worst(points)],
    )
