"""Accuracy and confidence on changed pictures: other sizes and shapes, and five corruptions."""

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
from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import InputPolicy
from artifacts.figure_style import SLANTED, add_legend, bar_style, line_style
from artifacts.pictures import Picture
from artifacts.preprocessing import prepare
from serving.client.predictor import Predictor
from serving.schemas import ModelInfo

Change = Callable[[Picture], Picture]
SCALES = (0.625, 0.75, 0.875, 1, 1.25, 1.5, 2, 3, 4, 7)
"""Sides of the square pictures, relative to the side that the model is shown."""
OBLONG = 0.625
"""Ratio of the shorter to the longer side of the oblong pictures."""
DEFAULT_SIDE = 32
"""Side in pixels to which the scales refer for models that take pictures of any size unchanged."""
SEVERITIES = (1, 2, 3, 4, 5)


def resize(width: int, height: int, picture: Picture) -> Picture:
    """Resize to a size in pixels (bicubic), without keeping the aspect ratio."""
    return prepare(picture, InputPolicy(fixed_size=(height, width)))


def noise(severity: int, picture: Picture) -> Picture:
    """Add Gaussian noise of standard deviation 8 to 40 of 255, seeded by the picture."""
    random = np.random.default_rng(int(picture.sum(dtype=np.int64)))
    noisy = picture + random.normal(0, 8 * severity, picture.shape)
    return noisy.clip(0, 255).round().astype(np.uint8)


def blur(severity: int, picture: Picture) -> Picture:
    """Blur by a Gaussian with a standard deviation of 1 % to 5 % of the shorter side."""
    radius = 0.01 * severity * min(picture.shape[:2])
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def jpeg(severity: int, picture: Picture) -> Picture:
    """Compress as JPEG of quality 50, 30, 20, 12 or 7."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=(50, 30, 20, 12, 7)[severity - 1])
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def brighten(severity: int, picture: Picture) -> Picture:
    """Multiply the brightness by 1.2 to 2."""
    image = ImageEnhance.Brightness(Image.fromarray(picture)).enhance(1 + 0.2 * severity)
    return np.asarray(image)


def rotate(severity: int, picture: Picture) -> Picture:
    """Rotate by 6 to 30 degrees, and fill the corners with the mean colour."""
    fill = tuple(int(value) for value in picture.mean(axis=(0, 1)))
    image = Image.fromarray(picture).rotate(6 * severity, Image.Resampling.BICUBIC, fillcolor=fill)
    return np.asarray(image)


CORRUPTIONS: Mapping[str, Callable[[int, Picture], Picture]] = {
    "noise": noise,
    "blur": blur,
    "jpeg": jpeg,
    "brightness": brighten,
    "rotation": rotate,
}


@dataclass(frozen=True)
class Point:
    """The accuracy and confidence of a model under one change."""

    change: str
    level: str
    pictures: int
    accuracy: float
    confidence: float
    """Mean probability of the predicted class; if it exceeds the accuracy, the model is
    over-confident."""


def measure(
    predictor: Predictor,
    info: ModelInfo,
    pictures: Pictures,
    changes: Sequence[tuple[str, str, Change | None]],
) -> list[Point]:
    """Classify the pictures under each change.

    Args:
        predictor: a server or the artifacts.
        info: description of the model.
        pictures: pictures with labels.
        changes: (kind, level, function that changes a picture or None) of each change.
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
    """Return the table, with a row per change."""
    return [{**vars(point), "synthetic": synthetic} for point in points]


def draw_sizes(points: Sequence[Point], heading: str, footer: str) -> Figure:
    """Draw the accuracy and confidence at each size, in the given order."""
    figure = new_figure(heading, footer, width=max(7, 1.5 + 0.7 * len(points)), height=5)
    axes = figure.add_subplot(ylim=(0, 108), xlabel="width x height (pixels)")
    axes.set(ylabel="accuracy, mean probability (%)", yticks=range(0, 101, 20))
    x = np.arange(len(points))
    bars = axes.bar(x, [100 * p.accuracy for p in points], 0.7, label="accuracy", **bar_style(0))
    # inside, at the foot, where no mark covers it
    axes.bar_label(bars, fmt="%.1f", label_type="center", color="black")
    confidence = [100 * p.confidence for p in points]
    style = line_style(1) | {"linestyle": ""}
    axes.plot(x, confidence, label="mean probability of the predicted class", **style)
    axes.set_xticks(x, [point.level for point in points], **SLANTED)
    add_legend(figure, axes)
    return figure


def draw_corruptions(points: Sequence[Point], heading: str, footer: str) -> Figure:
    """Draw accuracy (solid) and confidence (dashed) over severity, with a panel per corruption."""
    figure = new_figure(heading, footer, width=2 * len(CORRUPTIONS), height=4)
    panels = figure.subplots(1, len(CORRUPTIONS), sharey=True)
    whole = points[0]
    for axes, kind in zip(panels, CORRUPTIONS, strict=True):
        line = [whole, *(point for point in points if point.change == kind)]
        severity = range(len(line))
        axes.plot(severity, [100 * p.accuracy for p in line], label="accuracy", **line_style(0))
        confidence = [100 * p.confidence for p in line]
        label = "mean probability of the predicted class"
        axes.plot(severity, confidence, label=label, **line_style(1))
        title = "JPEG" if kind == "jpeg" else kind
        axes.set(title=title, xlabel="severity", ylim=(0, 102), xticks=severity)
        axes.grid()
    panels[0].set_ylabel("accuracy, mean probability (%)")
    add_legend(figure, panels[0])
    return figure


def worst(points: Sequence[Point]) -> str:
    """Describe the change with the lowest accuracy."""
    first, lowest = points[0], min(points, key=lambda point: point.accuracy)
    return (
        f"accuracy {first.accuracy:.4f} for {_name(first)}; the lowest is "
        f"{lowest.accuracy:.4f} for {_name(lowest)}, where the mean probability is "
        f"{lowest.confidence:.4f}"
    )


def _name(point: Point) -> str:
    return "unchanged pictures" if point.change == "none" else f"{point.change} {point.level}"


def sizes_around(policy: InputPolicy) -> list[tuple[int, int]]:
    """Return the sizes (width, height) to test: squares around the model's and two oblongs."""
    width, height = policy.target(policy.accepted_side[1], policy.accepted_side[1])
    unchanged = policy.native_side is None and policy.fixed_size is None
    side = DEFAULT_SIDE if unchanged else max(width, height)
    squares = [(round(scale * side),) * 2 for scale in SCALES]
    short = round(OBLONG * side)
    low, high = policy.accepted_side
    return [
        (w, h)
        for w, h in [*squares, (side, short), (short, side)]
        if low <= min(w, h) and max(w, h) <= high
    ]


def parse_sizes(
    _: click.Context, __: click.Parameter, text: str | None
) -> list[tuple[int, int]] | None:
    """Parse WIDTHxHEIGHT,… in pixels.

    Raises:
        BadParameter: the text has another form.
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
            f"{text!r}: expected WIDTHxHEIGHT, both at least 1, such as 20x20,32x20."
        )
    return sizes


@click.command("sizes")
@model_option
@common_options
@click.option(
    "--sizes",
    callback=parse_sizes,
    metavar="WIDTHxHEIGHT,…",
    help="Sizes in pixels. By default, squares of 0.6 to 7 times the side that the model is shown, "
    "and two oblongs.",
)
def sizes_command(
    model: str,
    options: CommonOptions,
    sizes: list[tuple[int, int]] | None,
) -> None:
    """Measure accuracy and confidence over picture size and shape.

    Writes sizes.png, sizes.csv and sizes.json. All pictures are resized (bicubic) to each size
    before they are sent; the model's input policy then applies as usual.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    changes: list[tuple[str, str, Change | None]] = [
        ("size", f"{width}x{height}", partial(resize, width, height))
        for width, height in sizes or sizes_around(info.input)
    ]
    points = measure(predictor, info, pictures, changes)
    report_skipped(pictures)
    heading = title("Accuracy over picture size", [info], pictures)
    write_report(
        options.folder("sizes", (model,)),
        "sizes",
        {"sizes": rows(points, synthetic=info.synthetic or pictures.synthetic)},
        {"sizes": draw_sizes(points, heading, this_command())},
        record([info], pictures, {}),
        [worst(points)],
    )


@click.command("robustness")
@model_option
@common_options
def robustness_command(model: str, options: CommonOptions) -> None:
    """Measure accuracy under noise, blur, JPEG compression, brightness and rotation.

    Writes robustness.png, robustness.csv and robustness.json, with the results for the unchanged
    pictures and for each corruption at five severities.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    changes: list[tuple[str, str, Change | None]] = [("none", "0", None)]
    for kind, corrupt in CORRUPTIONS.items():
        changes += [(kind, str(severity), partial(corrupt, severity)) for severity in SEVERITIES]
    points = measure(predictor, info, pictures, changes)
    report_skipped(pictures)
    heading = title("Accuracy under corruptions", [info], pictures)
    write_report(
        options.folder("robustness", (model,)),
        "robustness",
        {"robustness": rows(points, synthetic=info.synthetic or pictures.synthetic)},
        {"robustness": draw_corruptions(points, heading, this_command())},
        record([info], pictures, {}),
        [worst(points)],
    )
