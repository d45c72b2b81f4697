"""Writes an atlas into an artifact, so that a server can show a picture's neighbours and place."""

from pathlib import Path

import click
import numpy as np

from analysis import answers
from analysis.answers import Floats
from analysis.options import Asked, dataset_option, images_option, model_option
from analysis.output import report_skipped
from analysis.tsne_map.tsne import Vectors, embed, measure, usual_perplexity
from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.atlas import ATLAS_FILE, SHEET_FILE, Atlas, draw_sheet


def unit_square(points: Floats) -> Vectors:
    """Points N x 2 shifted and scaled into 0..1, alike in both directions, y turned downwards."""
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    placed = ((points - low) / extent).astype(np.float32)
    placed += (1 - placed.max(axis=0)) / 2  # the narrower direction in the middle
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
    help="Pictures, drawn evenly.",
)
@click.option(
    "--side",
    type=click.IntRange(16, 128),
    default=32,
    show_default=True,
    help="Of a picture on the sheet, px.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same map.")
def command(
    model: str, images: Path | None, dataset: str | None, limit: int, side: int, seed: int
) -> None:
    """Give a model an atlas: pictures among which a server finds the neighbours of new ones.

    The artifact is written anew with the pictures, small, with their features and their places on
    a map by t-SNE; its graph and its hash stay. Take pictures that the model did not learn from,
    and that may be handed on: whoever can reach the server can see them.
    """
    asked = Asked(images, dataset, limit, url=None, out=None, answers=None)
    predictor, pictures = asked.predictor(), asked.pictures()
    info = predictor.model_info(model)
    vectors = answers.features(predictor, info, pictures)
    predicted = [""] * len(vectors.indices)
    if info.task == "classification":
        found = answers.classify(predictor, info, pictures, labelled=False)
        predicted = [info.classes[number] for number in found.predicted]
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
    click.echo(f"{saved.path}: {len(files[ATLAS_FILE]) + len(files[SHEET_FILE]):,} bytes more")
