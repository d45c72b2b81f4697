"""Writes an atlas into an artifact, with which a server shows a picture's neighbours on a map."""

from pathlib import Path

import click
import numpy as np

from analysis import answers
from analysis.answers import Floats
from analysis.options import CommonOptions, dataset_option, images_option, model_option
from analysis.output import report_skipped
from analysis.tsne_map.tsne import Vectors, embed, measure, usual_perplexity
from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.atlas import ATLAS_FILE, SHEET_FILE, Atlas, draw_sheet


def unit_square(points: Floats) -> Vectors:
    """Shift and scale N x 2 points into 0..1, equally in both directions, with y pointing down."""
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    placed = ((points - low) / extent).astype(np.float32)
    placed += (1 - placed.max(axis=0)) / 2  # centres the narrower direction
    placed[:, 1] = 1 - placed[:, 1]
    square: Vectors = np.clip(placed, 0, 1)
    return square


@click.command("atlas")
@model_option
@images_option
@dataset_option
@click.option(
    "--limit",
    type=click.IntRange(4, 2000),
    default=400,
    show_default=True,
    help="Number of pictures, evenly spaced over the set.",
)
@click.option(
    "--side",
    type=click.IntRange(16, 128),
    default=32,
    show_default=True,
    help="Width and height of a picture on the sheet in pixels.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same map.")
def command(
    model: str, images: Path | None, dataset: str | None, limit: int, side: int, seed: int
) -> None:
    """Give a model an atlas: pictures among which a server finds the neighbours of new ones.

    Thumbnails of the pictures, their features and their positions on a t-SNE map are added to the
    artifact; its graph and its hash do not change. Use pictures that the model was not trained on
    and that may be published: everyone who can reach the server can see them.
    """
    options = CommonOptions(images, dataset, limit, url=None, out=None, answers=None)
    predictor, pictures = options.predictor(), options.pictures()
    info = predictor.model_info(model)
    vectors = answers.features(predictor, info, pictures)
    predicted = [""] * len(vectors.indices)
    if info.task != "embedding":
        predicted = answers.name_classes(predictor, info, pictures)
    report_skipped(pictures)
    points = embed(vectors.vectors, usual_perplexity(len(vectors.indices)), seed)
    indices = [int(index) for index in vectors.indices]
    artifact = Artifact.open(model)
    atlas = Atlas(
        graph=artifact.manifest.files[MODEL_FILE],
        data=f"{pictures.source}, {len(indices):,} pictures",
        side=side,
        labels=tuple(pictures.label(index) for index in indices),
        predicted=tuple(predicted),
        places=unit_square(points),
        vectors=vectors.vectors,
    )
    files = artifact.contents()
    files[ATLAS_FILE] = atlas.content()
    files[SHEET_FILE] = draw_sheet((pictures.pixels(index) for index in indices), side)
    saved = artifact.rewrite(artifact.manifest, files)
    for name, value in measure(vectors.vectors, points, pictures.labels[indices]).items():
        click.echo(f"{name}: {value:.4f}")
    size = len(files[ATLAS_FILE]) + len(files[SHEET_FILE])
    click.echo(f"{saved.path}: the atlas takes {size:,} bytes")
