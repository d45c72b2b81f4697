"""Verification on whole photographs, by LFW's protocol: `python -m benchmarks.face_verification`.

Photographs of 250 x 250 px are composed of the pictures of held-out people (see
`benchmarks.photographs`); in a share of them, other people stand at the border. The people are
divided into ten folds, each with up to 300 pairs of one person and 300 of two (Huang et al. 2007).
The threshold with the best accuracy on nine folds decides on the tenth. A pair is wrong if no face
is found on one of its photographs. Besides, the rates at the artifact's thresholds are measured on
all pairs.
"""

from dataclasses import dataclass

import click
import numpy as np

from artifacts import Artifact, Runtime
from artifacts.datasets import load
from artifacts.faces import Detector, Found, align, by_prominence
from artifacts.faces.embedding import embed_chips
from artifacts.pictures import Picture
from artifacts.provenance import hardware
from artifacts.verification.curves import curve
from artifacts.verification.error_rates import rates
from artifacts.verification.pairs import Ints, Measured, Vectors, all_pairs, distances
from benchmarks.photographs import Kind, Studio

FOLDS, PAIRS = 10, 300
SIZE = (250, 250)


@dataclass(frozen=True)
class Photographs:
    """The photographs of a collection with the faces found on them."""

    pictures: list[Picture]
    faces: list[list[Found]]
    people: Ints


@click.command()
@click.option("--dataset", default="faces/celeba:test", show_default=True)
@click.option("--others", default=0.02, show_default=True, help="Share with people at the border.")
@click.option("--per-person", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(dataset: str, others: float, per_person: int, seed: int) -> None:
    """Print the accuracy of both choices of a face, with and without the mirrored crop."""
    made = photographs(dataset, others, per_person, seed)
    found = np.mean([bool(faces) for faces in made.faces])
    print(f"{hardware()}; {dataset}, {len(set(made.people.tolist()))} people, ", end="")
    print(f"{len(made.people):,} photographs, {others:.0%} with others, seed {seed}; ", end="")
    print(f"a face found on {found:.4f}\n")
    artifact = Artifact.open("faces-dlib")
    runtime = Runtime.open(artifact, threads=1)
    print("| face | mirrored | accuracy (sd of folds) | pairs | EER |")
    print("|---|---|---|---|---|")
    for choice in ("largest", "main"):
        for mirrored in (False, True):
            vectors, there = embedded(runtime, made, choice, mirrored=mirrored)
            accuracies, count = ten_folds(vectors, there, made.people, seed)
            measured = all_pairs(vectors[there], made.people[there], dataset, "euclidean")
            print(
                f"| {choice} | {'yes' if mirrored else 'no'} | {accuracies.mean():.4f} "
                f"({accuracies.std():.4f}) | {count:,} | {curve(measured).eer:.4f} |",
                flush=True,
            )
    print_rates(artifact, measured, seed)


def print_rates(artifact: Artifact, measured: Measured, seed: int) -> None:
    """Print the error rates at the artifact's thresholds, with intervals by person."""
    print("\n| target FMR | stated FMR | FMR here | FNMR here |\n|---|---|---|---|")
    verification = artifact.manifest.verification
    for threshold in verification.thresholds if verification else ():
        fmr, fnmr = rates(measured, threshold.distance, seed)
        cells = [
            f"{value:.2g} ({low:.2g} to {high:.2g})"
            for value, (low, high) in ((threshold.fmr, threshold.fmr_interval), fmr, fnmr)
        ]
        print(f"| {threshold.target_fmr:g} | {' | '.join(cells)} |")


def photographs(dataset: str, others: float, per_person: int, seed: int) -> Photographs:
    """Compose a photograph of each picture, and find the faces on it."""
    name, _, split = dataset.partition(":")
    people = load(name, split)
    studio, detector = Studio(seed), Detector(threads=1)
    order = studio.random.permutation(len(people.labels))
    chosen = [np.flatnonzero(people.labels[order] == p)[:per_person] for p in set(people.labels)]
    places = order[np.concatenate(chosen)]
    pictures = []
    for place in places.tolist():
        kind: Kind = "press" if studio.random.random() < others else "portrait"
        strangers = np.flatnonzero(people.labels != people.labels[place])
        beside = [people.images[int(i)] for i in studio.random.choice(strangers, 2, replace=False)]
        pictures.append(studio.compose(people.images[place], beside, kind, SIZE).picture)
    faces = [detector.find(picture) for picture in pictures]
    return Photographs(pictures, faces, people.labels[places].astype(np.int64))


def embedded(
    runtime: Runtime, made: Photographs, choice: str, *, mirrored: bool
) -> tuple[Vectors, np.ndarray]:
    """Return embeddings (N x D, zero without a face), and whether there is a face (N)."""
    there = np.array([bool(faces) for faces in made.faces])
    chips = []
    for picture, faces in zip(made.pictures, made.faces, strict=True):
        if faces:
            height, width = picture.shape[:2]
            best = faces[0] if choice == "largest" else by_prominence(faces, width, height)[0]
            chips.append(align(picture, best.landmarks))
    rows = embed_chips(runtime, chips, mirrored=mirrored)
    vectors = np.zeros((len(there), rows.shape[1]), np.float32)
    vectors[there] = rows
    return vectors, there


def ten_folds(
    vectors: Vectors, there: np.ndarray, people: Ints, seed: int
) -> tuple[np.ndarray, int]:
    """Return the accuracy on each fold, and the number of pairs."""
    random = np.random.default_rng(seed)
    folds = np.array_split(random.permutation(np.unique(people)), FOLDS)
    drawn = [pairs_of(people, fold, random) for fold in folds]  # P x 2 and P each
    away = [
        np.where(
            there[pairs].all(1), distances(vectors, pairs[:, 0], pairs[:, 1], "euclidean"), np.nan
        )
        for pairs, _ in drawn
    ]
    accuracies = []
    for i in range(FOLDS):
        rest = np.concatenate([away[j] for j in range(FOLDS) if j != i])
        same = np.concatenate([drawn[j][1] for j in range(FOLDS) if j != i])
        grid = np.arange(0.2, 1.0, 0.001)
        best = grid[np.argmax([right(rest, same, limit).mean() for limit in grid])]
        accuracies.append(right(away[i], drawn[i][1], best).mean())
    return np.array(accuracies), sum(len(pairs) for pairs, _ in drawn)


def right(away: np.ndarray, same: np.ndarray, limit: float) -> np.ndarray:
    """Return whether pairs are decided rightly at a threshold; never without a distance."""
    return np.where(np.isnan(away), False, (away <= limit) == same)


def pairs_of(
    people: Ints, fold: np.ndarray, random: np.random.Generator
) -> tuple[Ints, np.ndarray]:
    """Draw up to 300 pairs of one person and 300 of two of a fold's people."""
    members = np.flatnonzero(np.isin(people, fold))
    first, second = (members[index] for index in np.triu_indices(len(members), 1))
    same = people[first] == people[second]
    chosen = np.concatenate(
        [random.permutation(np.flatnonzero(kind))[:PAIRS] for kind in (same, ~same)]
    )
    return np.stack([first, second], 1)[chosen], same[chosen]


if __name__ == "__main__":
    main()
