"""The command that draws a map of pictures by t-SNE of the features that are served."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import answers
from analysis.answers import Floats, Ints
from analysis.inputs import Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from analysis.tsne_map.tsne import (
    INITIALISATION,
    Vectors,
    embed,
    measure,
    nearest,
    place,
    usual_perplexity,
)
from analysis.tsne_map.view import draw, page
from artifacts import DataError, VitrineError
from serving.client.predictor import Predictor
from serving.schemas import ModelInfo


@dataclass(frozen=True)
class Features:
    """The features and predicted classes of N readable pictures."""

    indices: Ints
    """N indices into `Pictures.names`."""
    vectors: Vectors
    """N x D inputs of the model's head."""
    predicted: list[str]
    """N class names; empty strings for a model without classes."""
    probabilities: list[float | None]
    """N probabilities of those classes; None if the model is not a classifier."""


@dataclass(frozen=True)
class EarlierMap:
    """A map of N pictures from an earlier run."""

    vectors: Vectors
    """N x D features."""
    points: Floats
    """N x 2 positions on the map."""
    settings: dict[str, Any]
    """Settings that `write_parquet` stored."""


def collect(predictor: Predictor, info: ModelInfo, pictures: Pictures) -> Features:
    """Ask for the features and the predicted class of every picture.

    Raises:
        VitrineError: the model is unknown or has no features; or the server does not answer.
        DataError: no picture can be read.
    """
    found = answers.features(predictor, info, pictures)
    predicted = [""] * len(found.indices)
    probabilities: list[float | None] = [None] * len(found.indices)
    if info.task == "classification":
        given = answers.classify(predictor, info, pictures, labelled=False)
        predicted = [info.classes[number] for number in given.predicted]
        probabilities = given.probabilities.max(axis=1).tolist()
    elif info.task == "multi-label":
        predicted = answers.name_classes(predictor, info, pictures)
    return Features(found.indices, found.vectors, predicted, probabilities)


def rows(
    features: Features, points: Floats, pictures: Pictures, *, synthetic: bool
) -> list[dict[str, Any]]:
    """Return the table, with a row per mapped picture.

    Args:
        features: the result of `collect`.
        points: N x 2 positions on the map.
        pictures: the pictures that `features` refers to.
        synthetic: whether the pictures or the training data are generated; part of every row.
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


def write_parquet(
    path: Path,
    table: list[dict[str, Any]],
    features: Features,
    pictures: Pictures,
    settings: dict[str, Any],
) -> None:
    """Write the table with what is documented in docs/analyse.md, and the settings as metadata."""
    columns: dict[str, Any] = {key: [row[key] for row in table] for key in table[0]}
    names = columns["picture"]
    files = [pictures.images[index] for index in features.indices]
    columns["path"] = pa.array(
        [str(file.absolute()) if isinstance(file, Path) else None for file in files], pa.string()
    )
    columns["probability"] = pa.array(features.probabilities, pa.float64())
    columns["vector"] = list(features.vectors)
    columns["neighbours"] = [[names[i] for i in line] for line in nearest(features.vectors)]
    content = pa.table(columns)
    pq.write_table(content.replace_schema_metadata({"vitrine": json.dumps(settings)}), path)


def read_parquet(path: Path, info: ModelInfo) -> EarlierMap:
    """Read a map that `write_parquet` wrote.

    Raises:
        DataError: the file cannot be read as a map, or the map is of another model.
    """
    try:
        table = pq.read_table(path, columns=["vector", "x", "y"])
        settings = json.loads(table.schema.metadata[b"vitrine"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
        raise DataError(f"{path}: not a map.parquet that `analysis map` wrote.") from None
    if settings["hash"] != info.hash:
        raise DataError(
            f"{path}: the map is of {settings['model']} with hash {settings['hash'][:8]}…, not of "
            f"{info.name} with hash {info.hash[:8]}…; make it again with this model."
        )
    columns = table.to_pydict()
    return EarlierMap(
        vectors=np.array(columns["vector"], np.float32),
        points=np.column_stack([columns["x"], columns["y"]]),
        settings=settings,
    )


@click.command("map")
@model_option
@common_options
@click.option(
    "--perplexity",
    type=click.FloatRange(min=1),
    help="Effective number of neighbours of a picture, at most a third of the number of pictures. "
    "The default is 30, or this third if it is smaller.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same map.")
@click.option(
    "--onto",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A map.parquet of the same model, onto which the pictures are placed.",
)
def command(
    model: str,
    options: CommonOptions,
    perplexity: float | None,
    seed: int,
    onto: Path | None,
) -> None:
    """Draw a map on which pictures with similar features are close together.

    The map is a t-SNE of the features that are served, coloured by class, or by predicted class if
    the pictures have no labels.

    Writes map.png, map.html (shows the picture under the pointer), map.csv (picture, label,
    predicted, x, y, synthetic), map.parquet (the same with paths, probabilities, vectors and
    nearest pictures) and map.json (settings, model, data, quality of the map). Neighbourhoods are
    meaningful on such a map; distances between separate groups are not.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    earlier = read_parquet(onto, info) if onto else None
    pictures = options.pictures()
    features = collect(predictor, info, pictures)
    report_skipped(pictures)
    if earlier is None:
        perplexity = perplexity or usual_perplexity(len(features.vectors))
        points = embed(features.vectors, perplexity, seed)
    else:
        perplexity, seed = earlier.settings["perplexity"], earlier.settings["seed"]
        points = place(earlier.vectors, earlier.points, features.vectors, perplexity, seed)
    table = rows(features, points, pictures, synthetic=info.synthetic or pictures.synthetic)
    settings = {
        "perplexity": perplexity,
        "seed": seed,
        "initialisation": INITIALISATION,
        "features": features.vectors.shape[1],
    }
    numbers = measure(features.vectors, points, pictures.labels[features.indices])
    footer = f"{this_command()}   |   " + ", ".join(f"{k} {v}" for k, v in settings.items())
    heading = title("t-SNE of served features", [info], pictures)
    folder = options.folder("map", (model,))
    earlier_points = None if earlier is None else earlier.points
    pixels = (pictures.pixels(int(i)) for i in features.indices)
    text = page(table, pixels, heading, footer, earlier_points)
    stored = {**settings, "model": info.name, "hash": info.hash}
    # these files are written before map.json, whose presence tells a report that all exist
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "map.html").write_text(text, encoding="utf-8")
        write_parquet(folder / "map.parquet", table, features, pictures, stored)
    except OSError as error:
        raise VitrineError(
            f"{folder}: cannot be written ({error}); choose another --out."
        ) from None
    write_report(
        folder,
        "map",
        {"map": table},
        {"map": draw(table, heading, footer, earlier_points)},
        record([info], pictures, {**settings, "onto": str(onto) if onto else None}),
        [f"{name}: {value:.4f}" for name, value in numbers.items()],
    )
    click.echo(folder / "map.html")
    click.echo(folder / "map.parquet")
