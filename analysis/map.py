"""A map of what a model holds alike: t-SNE of the features that are served."""

from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from openTSNE import TSNE

from analysis.figures import STYLES, new_figure, styles
from analysis.inputs import Pictures
from analysis.options import common_options, model_option, read_pictures, report_folder
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import VitrineError
from artifacts.provenance import cores
from serving.chunks import Source
from serving.client import Predictor, connect

INITIALISATION = "pca"
MOST_LEGEND_CLASSES = 20
REST = ("#dddddd", "o")
"""Style of classes for which there is none left."""


@dataclass(frozen=True)
class Features:
    """What a model says about the readable pictures, N of them."""

    indices: npt.NDArray[np.int64]
    """N places in `Pictures.names`."""
    vectors: npt.NDArray[np.float32]
    """N x D, what the head of the network sees."""
    predicted: list[str]
    """N class names; empty strings for a model without classes."""


def collect(predictor: Predictor, model: str, pictures: Pictures) -> Features:
    """Ask for the features and the predicted class of every picture.

    Raises:
        VitrineError: the model is unknown or has no features, or the server does not answer.
        DataError: no picture can be read.
    """
    classifies = predictor.model_info(model).task == "classification"

    def question(images: list[Source]) -> tuple[npt.NDArray[np.float32], list[str]]:
        vectors = predictor.features(model, images)
        if not classifies:
            return vectors, [""] * len(images)
        answers = predictor.classify(model, images, top=1).pictures
        return vectors, [answer.top[0].label for answer in answers]

    indices: list[int] = []
    vectors: list[npt.NDArray[np.float32]] = []
    predicted: list[str] = []
    for places, (rows, names) in pictures.ask(f"features of {model}", question):
        indices += places
        vectors.append(rows)
        predicted += names
    return Features(np.array(indices), np.concatenate(vectors), predicted)


def embed(
    vectors: npt.NDArray[np.float32], perplexity: float, seed: int
) -> npt.NDArray[np.float64]:
    """Place vectors in the plane by t-SNE (van der Maaten and Hinton 2008), with openTSNE.

    Args:
        vectors: N x D, finite.
        perplexity: about how many neighbours each vector has; at most (N - 1) / 3.
        seed: the same seed gives the same map.

    Returns:
        N x 2.

    Raises:
        VitrineError: too few vectors for the perplexity, or vectors that cannot be placed.
    """
    count, width = vectors.shape
    if count < 3 * perplexity + 1:
        needed = int(np.ceil(3 * perplexity + 1))
        raise VitrineError(
            f"{count} pictures are too few for perplexity {perplexity:g}, which needs {needed}; "
            + (
                f"use more pictures or --perplexity {(count - 1) // 3} at most."
                if count >= 4  # noqa: PLR2004  least count with a perplexity of 1
                else "use more pictures; 4 is the least for any map."
            )
        )
    if width < 2 or not np.isfinite(vectors).all() or not np.ptp(vectors, axis=0).any():  # noqa: PLR2004
        raise VitrineError(
            f"the features ({count} x {width}) cannot be mapped: they must be finite, at least two "
            "numbers each, and not the same for all pictures."
        )
    tsne = TSNE(
        perplexity=perplexity, initialization=INITIALISATION, random_state=seed, n_jobs=cores()
    )
    return np.asarray(tsne.fit(vectors))


def rows(
    features: Features, points: npt.NDArray[np.float64], pictures: Pictures, *, synthetic: bool
) -> list[dict[str, Any]]:
    """The table: one row per mapped picture.

    Args:
        features: as collected.
        points: N x 2, their places on the map.
        pictures: where they come from.
        synthetic: whether pictures or model are generated, written into every row.
    """
    return [
        {
            "picture": pictures.names[index],
            "label": pictures.label(index),
            "predicted": predicted,
            "x": x,
            "y": y,
            "synthetic": synthetic,
        }
        for index, predicted, (x, y) in zip(
            features.indices, features.predicted, points.tolist(), strict=True
        )
    ]


def draw(table: list[dict[str, Any]], heading: str, footer: str) -> Figure:
    """Scatter plot of a table from `rows`, coloured by class; by prediction without labels."""
    figure = new_figure(heading, footer, width=10, height=8)
    axes = figure.add_subplot(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    by = "label" if any(row["label"] for row in table) else "predicted"
    names = np.array([row[by] for row in table])
    points = np.array([(row["x"], row["y"]) for row in table])
    area = float(np.clip(20_000 / len(table), 4, 36))
    classes = np.unique(names).tolist()
    for name, style in zip_longest(classes, islice(styles(), len(classes))):
        colour, marker = style or REST
        x, y = points[names == name].T
        axes.scatter(x, y, area, colour, marker=marker, alpha=0.7, linewidths=0, label=name)
    kind = "class" if by == "label" else "predicted class"
    if len(classes) > MOST_LEGEND_CLASSES:
        styled = min(len(classes), STYLES)
        axes.set_xlabel(f"{styled} of {len(classes)} classes have a colour; any other is grey")
    elif classes != [""]:
        figure.legend(title=kind, loc="outside right center", frameon=False, markerscale=1.5)
        _name_groups(axes, names, points)
    return figure


def _name_groups(axes: Axes, names: npt.NDArray[np.str_], points: npt.NDArray[np.float64]) -> None:
    """Write each class's name where most of it lies: colour is not the only key."""
    halo = patheffects.withStroke(linewidth=3, foreground="white")
    extent = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)  # (2, low and high)
    free = np.ones((10, 10), bool)
    for name in np.unique(names):
        counts, edges = np.histogramdd(points[names == name], free.shape, extent.tolist())
        cell = np.unravel_index(np.where(free, counts, -1).argmax(), free.shape)
        free[cell] = False  # no two names on one place
        x, y = ((edge[i] + edge[i + 1]) / 2 for edge, i in zip(edges, cell, strict=True))
        axes.text(x, y, name, ha="center", va="center", weight="bold", path_effects=[halo])


@click.command("map")
@model_option
@common_options
@click.option(
    "--perplexity",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    help="About how many neighbours a picture has; a third of the pictures at most.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same map.")
def command(
    model: str,
    images: Path | None,
    dataset: str | None,
    limit: int | None,
    url: str | None,
    out: Path | None,
    perplexity: float,
    seed: int,
) -> None:
    """Map of the pictures a model holds alike.

    t-SNE of the features that are served, coloured by class, or by predicted class where the
    pictures have no labels.

    Writes map.png, map.csv (picture, label, predicted, x, y, synthetic) and map.json (settings,
    model, data). Distances between far groups mean nothing in such a map; neighbourhoods do.
    """
    predictor = connect(url)
    info = predictor.model_info(model)
    pictures = read_pictures(images, dataset, limit)
    features = collect(predictor, model, pictures)
    report_skipped(pictures)
    points = embed(features.vectors, perplexity, seed)
    table = rows(features, points, pictures, synthetic=info.synthetic or pictures.synthetic)
    settings = {
        "perplexity": perplexity,
        "seed": seed,
        "initialisation": INITIALISATION,
        "features": features.vectors.shape[1],
    }
    footer = f"{this_command()}   |   " + ", ".join(f"{k} {v}" for k, v in settings.items())
    heading = title("t-SNE of served features", [info], pictures)
    write_report(
        report_folder(out, "map", (model,)),
        "map",
        {"map": table},
        {"map": draw(table, heading, footer)},
        record([info], pictures, settings),
    )
