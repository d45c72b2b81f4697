"""A map of what a model holds alike: t-SNE of the features that are served."""

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
from analysis.options import Asked, common_options, model_option
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
    """What a model says about the readable pictures, N of them."""

    indices: Ints
    """N places in `Pictures.names`."""
    vectors: Vectors
    """N x D, what the head of the network sees."""
    predicted: list[str]
    """N class names; empty strings for a model without classes."""


@dataclass(frozen=True)
class Earlier:
    """A map that was made before."""

    vectors: Vectors
    points: Floats
    settings: dict[str, Any]


def collect(predictor: Predictor, info: ModelInfo, pictures: Pictures) -> Features:
    """Ask for the features and the predicted class of every picture.

    Raises:
        VitrineError: the model is unknown or has no features, or the server does not answer.
        DataError: no picture can be read.
    """
    found = answers.features(predictor, info, pictures)
    predicted = [""] * len(found.indices)
    if info.task == "classification":
        guesses = answers.classify(predictor, info, pictures, labelled=False).predicted
        predicted = [info.classes[guess] for guess in guesses]
    return Features(found.indices, found.vectors, predicted)


def rows(
    features: Features, points: Floats, pictures: Pictures, *, synthetic: bool
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


def write_parquet(
    path: Path, table: list[dict[str, Any]], vectors: Vectors, settings: dict[str, Any]
) -> None:
    """Write the table with vectors and nearest pictures; the settings go into the metadata."""
    columns = {key: [row[key] for row in table] for key in table[0]}
    names = columns["picture"]
    columns["vector"] = list(vectors)
    columns["neighbours"] = [[names[i] for i in line] for line in nearest(vectors)]
    content = pa.table(columns)
    pq.write_table(content.replace_schema_metadata({"vitrine": json.dumps(settings)}), path)


def read_parquet(path: Path, info: ModelInfo) -> Earlier:
    """Read a map that `write_parquet` wrote.

    Raises:
        DataError: no such file, or a map of another model.
    """
    try:
        table = pq.read_table(path, columns=["vector", "x", "y"])
        settings = json.loads(table.schema.metadata[b"vitrine"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
        raise DataError(f"{path}: not a map.parquet that `analysis map` wrote.") from None
    if settings["hash"] != info.hash:
        raise DataError(
            f"{path}: a map of {settings['model']} with hash {settings['hash'][:8]}…, not of "
            f"{info.name} with {info.hash[:8]}…; make it again with this model."
        )
    columns = table.to_pydict()
    return Earlier(
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
    help="About how many neighbours a picture has, a third of the pictures at most; 30 or, of few "
    "pictures, that third by default.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same map.")
@click.option(
    "--onto",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier map.parquet of the same model to place the pictures on.",
)
def command(
    model: str,
    asked: Asked,
    perplexity: float | None,
    seed: int,
    onto: Path | None,
) -> None:
    """Map of the pictures a model holds alike.

    t-SNE of the features that are served, coloured by class, or by predicted class where the
    pictures have no labels.

    Writes map.png, map.html (shows the picture under the pointer), map.csv (picture, label,
    predicted, x, y, synthetic), map.parquet (the same with vectors and nearest pictures) and
    map.json (settings, model, data, how far to trust the map). Distances between far groups mean
    nothing in such a map; neighbourhoods do.
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    earlier = read_parquet(onto, info) if onto else None
    pictures = asked.pictures()
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
    folder = asked.folder("map", (model,))
    old = None if earlier is None else earlier.points
    text = page(table, (pictures.pixels(int(i)) for i in features.indices), heading, old)
    kept = {**settings, "model": info.name, "hash": info.hash}
    # first: where map.json stands, a report takes the map for made
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "map.html").write_text(text, encoding="utf-8")
        write_parquet(folder / "map.parquet", table, features.vectors, kept)
    except OSError as error:
        raise VitrineError(
            f"{folder}: cannot be written ({error}); choose another --out."
        ) from None
    write_report(
        folder,
        "map",
        {"map": table},
        {"map": draw(table, heading, footer, old)},
        record([info], pictures, {**settings, "onto": str(onto) if onto else None}),
        [f"{name}: {value:.4f}" for name, value in numbers.items()],
    )
    click.echo(folder / "map.html")
    click.echo(folder / "map.parquet")
