"""Nearest neighbours of pictures in feature space, and labels that the neighbours contradict."""

from typing import Any

import click
import numpy as np
from sklearn.neighbors import NearestNeighbors

from analysis.answers import FeatureVectors, Floats, Ints, features
from analysis.inputs import UNKNOWN, Pictures
from analysis.options import CommonOptions, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from analysis.sheet import draw_sheet
from artifacts import DataError
from artifacts.datasets.base import spread
from artifacts.provenance import cores

MAX_CONTRADICTED = 8


def nearest(found: FeatureVectors, count: int) -> tuple[Ints, Floats]:
    """Find the `count` nearest other pictures of each, by the Euclidean distance of features.

    Returns:
        Indices into the N vectors and distances, N x count each, nearest first.

    Raises:
        DataError: there are fewer than `count` other pictures.
    """
    if len(found.vectors) <= count:
        number = len(found.vectors)
        fewer = f" or --neighbours {number - 1} at most" if number > 1 else ""
        raise DataError(
            f"{number} pictures are too few for {count} neighbours each; use more pictures{fewer}."
        )
    search = NearestNeighbors(n_neighbors=count, n_jobs=cores()).fit(found.vectors)
    # without a query, scikit-learn does not count a picture as its own neighbour
    distances, places = search.kneighbors()
    return places, distances


def contradicted(places: Ints, labels: Ints) -> list[tuple[int, int, float]]:
    """Find pictures most of whose neighbours have one other label.

    Returns:
        (index, label of the neighbours, its share among them), in the order of descending shares.
    """
    found = []
    for place, around in enumerate(labels[places]):
        values, counts = np.unique(around, return_counts=True)
        best = int(counts.argmax())
        if values[best] != labels[place] and counts[best] > places.shape[1] / 2:
            found.append((place, int(values[best]), float(counts[best] / places.shape[1])))
    return sorted(found, key=lambda each: -each[2])


def rows(
    found: FeatureVectors, places: Ints, distances: Floats, pictures: Pictures, *, synthetic: bool
) -> list[dict[str, Any]]:
    """Return the table, with a row per picture and neighbour."""
    return [
        {
            "picture": pictures.names[index],
            "label": pictures.label(int(index)),
            "rank": rank,
            "neighbour": pictures.names[found.indices[place]],
            "neighbour_label": pictures.label(int(found.indices[place])),
            "distance": float(distance),
            "synthetic": synthetic,
        }
        for index, line, lengths in zip(found.indices, places, distances, strict=True)
        for rank, (place, distance) in enumerate(zip(line, lengths, strict=True), start=1)
    ]


@click.command("neighbours")
@model_option
@common_options
@click.option(
    "--neighbours",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Number of neighbours of a picture.",
)
@click.option(
    "--shown",
    type=click.IntRange(1, 30),
    default=5,
    show_default=True,
    help="Number of pictures in the figure.",
)
def command(
    model: str,
    options: CommonOptions,
    neighbours: int,
    shown: int,
) -> None:
    """Find the nearest pictures by the features that are served.

    Writes neighbours.png (some pictures with their neighbours and distances), neighbours.csv (all
    pictures), contradicted.png and contradicted.csv (pictures most of whose neighbours have one
    other label, because the model or the label is wrong) and neighbours.json.
    """
    predictor = options.predictor()
    info = predictor.model_info(model)
    pictures = options.pictures()
    found = features(predictor, info, pictures)
    report_skipped(pictures)
    places, distances = nearest(found, neighbours)
    labels = pictures.labels[found.indices]
    odd = contradicted(places, labels) if (labels != UNKNOWN).all() else []
    heading = title("Nearest neighbours and their distances", [info], pictures)
    figures = {
        "neighbours": draw_sheet(
            [
                _line(int(i), places[i], distances[i], found, pictures)
                for i in spread(len(places), shown)
            ],
            pictures,
            heading,
            this_command(),
        )
    }
    if odd:
        figures["contradicted"] = draw_sheet(
            [
                _line(i, places[i], distances[i], found, pictures)
                for i, _, _ in odd[:MAX_CONTRADICTED]
            ],
            pictures,
            title("Labels that neighbours contradict", [info], pictures),
            this_command(),
        )
    synthetic = info.synthetic or pictures.synthetic
    write_report(
        options.folder("neighbours", (model,)),
        "neighbours",
        {
            "neighbours": rows(found, places, distances, pictures, synthetic=synthetic),
            "contradicted": [_odd_row(each, found, pictures) for each in odd],
        },
        figures,
        record([info], pictures, {"neighbours": neighbours, "metric": "euclidean"}),
        _findings(places, labels, len(odd)),
    )


def _line(
    place: int, around: Ints, lengths: Floats, found: FeatureVectors, pictures: Pictures
) -> tuple[str, list[tuple[int, str]]]:
    index = int(found.indices[place])
    cells = [(index, "picture")]
    for neighbour, length in zip(found.indices[around], lengths, strict=True):
        cells.append((int(neighbour), f"{length:.2f}\n{pictures.label(int(neighbour))}"))
    return pictures.label(index), cells


def _odd_row(
    each: tuple[int, int, float], found: FeatureVectors, pictures: Pictures
) -> dict[str, Any]:
    place, label, share = each
    index = int(found.indices[place])
    return {
        "picture": pictures.names[index],
        "label": pictures.label(index),
        "neighbours_say": pictures.classes[label],
        "share": share,
    }


def _findings(places: Ints, labels: Ints, odd: int) -> list[str]:
    if (labels == UNKNOWN).any():
        return []
    alike = float((labels[places] == labels[:, None]).mean())
    return [
        f"{alike:.4f} of the {places.shape[1]} nearest neighbours have the picture's own class",
        f"for {odd} of {len(labels):,} pictures, most neighbours have one other label",
    ]
