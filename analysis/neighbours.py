"""What a model holds nearest: neighbours of pictures, and labels that neighbours contradict."""

from typing import Any

import click
import numpy as np
from sklearn.neighbors import NearestNeighbors

from analysis.answers import Featured, Floats, Ints, features
from analysis.inputs import UNKNOWN, Pictures
from analysis.options import Asked, common_options, model_option
from analysis.output import record, report_skipped, this_command, title, write_report
from analysis.sheet import draw_sheet
from artifacts import DataError
from artifacts.datasets.base import spread
from artifacts.provenance import cores

MOST_CONTRADICTED = 8


def nearest(found: Featured, count: int) -> tuple[Ints, Floats]:
    """The `count` nearest other pictures of each, by Euclidean distance of features.

    Returns:
        Places N x count among the N vectors, and distances N x count, nearest first.

    Raises:
        DataError: fewer than `count` other pictures.
    """
    if len(found.vectors) <= count:
        number = len(found.vectors)
        fewer = f" or --neighbours {number - 1} at most" if number > 1 else ""
        raise DataError(
            f"{number} pictures are too few for {count} neighbours each; use more pictures{fewer}."
        )
    search = NearestNeighbors(n_neighbors=count, n_jobs=cores()).fit(found.vectors)
    distances, places = search.kneighbors()  # without a query, no picture is its own neighbour
    return places, distances


def contradicted(places: Ints, labels: Ints) -> list[tuple[int, int, float]]:
    """Pictures whose neighbours mostly have another label.

    Returns:
        (place, the neighbours' label, its share among them), the most united neighbours first.
    """
    found = []
    for place, around in enumerate(labels[places]):
        values, counts = np.unique(around, return_counts=True)
        best = int(counts.argmax())
        if values[best] != labels[place] and counts[best] > places.shape[1] / 2:
            found.append((place, int(values[best]), float(counts[best] / places.shape[1])))
    return sorted(found, key=lambda each: -each[2])


def rows(
    found: Featured, places: Ints, distances: Floats, pictures: Pictures, *, synthetic: bool
) -> list[dict[str, Any]]:
    """The table: one row per picture and neighbour."""
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
    "--neighbours", type=click.IntRange(min=1), default=10, show_default=True, help="Of a picture."
)
@click.option(
    "--shown", type=click.IntRange(1, 30), default=5, show_default=True, help="Pictures drawn."
)
def command(
    model: str,
    asked: Asked,
    neighbours: int,
    shown: int,
) -> None:
    """Nearest pictures by the features that are served.

    Writes neighbours.png (some pictures with their neighbours and distances), neighbours.csv (of
    all), contradicted.png and contradicted.csv (pictures whose neighbours mostly have another
    label: mistakes of the model, or of the label) and neighbours.json.
    """
    predictor = asked.predictor()
    info = predictor.model_info(model)
    pictures = asked.pictures()
    found = features(predictor, info, pictures)
    report_skipped(pictures)
    places, distances = nearest(found, neighbours)
    labels = pictures.labels[found.indices]
    odd = contradicted(places, labels) if (labels != UNKNOWN).all() else []
    heading = title("Nearest neighbours", [info], pictures)
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
                for i, _, _ in odd[:MOST_CONTRADICTED]
            ],
            pictures,
            title("Labels that neighbours contradict", [info], pictures),
            this_command(),
        )
    synthetic = info.synthetic or pictures.synthetic
    write_report(
        asked.folder("neighbours", (model,)),
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
    place: int, around: Ints, lengths: Floats, found: Featured, pictures: Pictures
) -> tuple[str, list[tuple[int, str]]]:
    index = int(found.indices[place])
    cells = [(index, "picture")]
    for neighbour, length in zip(found.indices[around], lengths, strict=True):
        cells.append((int(neighbour), f"{length:.3g} {pictures.label(int(neighbour))}"))
    return pictures.label(index), cells


def _odd_row(each: tuple[int, int, float], found: Featured, pictures: Pictures) -> dict[str, Any]:
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
        f"{odd} of {len(labels):,} pictures have neighbours that mostly have one other label",
    ]
