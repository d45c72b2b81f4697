"""Chooses the thresholds of an embedding by target false-match rate, and measures what they do."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from artifacts import Artifact, DataError, Runtime
from artifacts.datasets import load
from artifacts.datasets.base import FileImages, take
from artifacts.errors import ArtifactError
from artifacts.faces import Detector, largest_face
from artifacts.graph import OUTPUTS
from artifacts.runtime import Picture
from artifacts.verification.decision import Verification
from artifacts.verification.error_rates import choose, report
from artifacts.verification.pairs import Ints, Measured, Vectors, all_pairs, distances

TARGETS = (1e-2, 1e-3, 1e-4)


def measure_people(
    artifact: Artifact, name: str, per_person: int, seed: int, *, aligned: bool
) -> Measured:
    """Distances of all pairs among pictures drawn of each person of a data set.

    Args:
        artifact: an embedding.
        name: `faces/COLLECTION:SPLIT`; the split is train, test, or all for both.
        per_person: at most so many pictures of each person are drawn.
        seed: of the draw.
        aligned: the pictures are aligned faces; else these are found in them.

    Raises:
        ArtifactError: not an embedding.
        DataError: no such data, or the model was trained on it.
    """
    metric = _metric(artifact)
    _check_unseen(artifact, name)
    images, people = everybody(name)
    random = np.random.default_rng(seed)
    drawn = [
        np.sort(random.permutation(np.flatnonzero(people == number))[:per_person])
        for number in range(int(people.max()) + 1)
    ]
    places = np.concatenate(drawn)
    vectors, found = embed(Runtime.open(artifact), take(images, places), aligned=aligned)
    return all_pairs(vectors, people[places][found], name, metric, len(places) - len(found))


def measure_pairs(artifact: Artifact, file: Path, *, aligned: bool) -> Measured:
    """Distances of the pairs that a CSV file lists.

    Args:
        artifact: an embedding.
        file: columns first_person, first, second_person, second; pictures by their paths from the
            file's folder.
        aligned: as `measure_people`.

    Raises:
        ArtifactError: not an embedding.
        DataError: the file or a picture cannot be read.
    """
    metric = _metric(artifact)
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        left = [file.parent / row["first"] for row in rows]
        right = [file.parent / row["second"] for row in rows]
        names = [(row["first_person"], row["second_person"]) for row in rows]
    except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: not a list of pairs ({error}); a CSV file with the columns first_person, "
            "first, second_person, second is expected."
        ) from None
    paths = sorted({*left, *right})
    vectors, found = embed(Runtime.open(artifact), FileImages(paths), aligned=aligned)
    place = {paths[number]: row for row, number in enumerate(found)}
    kept = [i for i in range(len(rows)) if left[i] in place and right[i] in place]
    first = np.array([place[left[i]] for i in kept], np.int64)
    second = np.array([place[right[i]] for i in kept], np.int64)
    everybody = {name: number for number, name in enumerate(sorted({n for p in names for n in p}))}
    people = [[everybody[name] for name in names[i]] for i in kept]
    return Measured(
        source=file.name,
        distances=distances(vectors, first, second, metric),
        people=np.array(people, np.int64).reshape(-1, 2),
        pictures=len(found),
        missed=len(paths) - len(found),
    )


def embed(
    runtime: Runtime, images: Sequence[Picture] | Picture, *, aligned: bool
) -> tuple[Vectors, Ints]:
    """Embed the largest face of each picture, as the server does.

    Args:
        runtime: of an embedding.
        images: uint8 H x W x 3, of any sizes.
        aligned: the pictures are taken as faces, as they are.

    Returns:
        N x D, and the places of the N pictures in which a face was found.

    Raises:
        DataError: no face was found in any.
    """
    chips, found = (images, np.arange(len(images))) if aligned else faces_of(images)
    prepared = [runtime.prepare(chip) for chip in chips]
    output = OUTPUTS["embedding"]
    return runtime.run(prepared, [output])[output], found


def faces_of(images: Sequence[Picture] | Picture) -> tuple[list[Picture], Ints]:
    """The largest face of each picture, aligned, and the places of those that have one.

    Raises:
        DataError: no face was found in any.
    """
    detector = Detector()
    chips = [largest_face(detector, image) for image in track(images, "finding faces")]
    found = [place for place, chip in enumerate(chips) if chip is not None]
    if not found:
        raise DataError("no face was found in any picture; --aligned takes them as faces.")
    return [chip for chip in chips if chip is not None], np.array(found)


def everybody(name: str) -> tuple[Sequence[Picture] | Picture, Ints]:
    """Pictures of a data set NAME:SPLIT and the number of the person on each.

    Args:
        name: the split is train, test, or all for both; nobody is in both.

    Raises:
        DataError: no such data.
    """
    collection, _, split = name.partition(":")
    if split != "all":
        only = load(collection, split)
        return only.images, only.labels
    train, test = load(collection, "train"), load(collection, "test")
    people = np.concatenate([train.labels, test.labels + len(train.classes)])
    if isinstance(train.images, FileImages) and isinstance(test.images, FileImages):
        return FileImages([*train.images.paths, *test.images.paths]), people
    return [*train.images, *test.images], people


def calibrate(
    artifact: Artifact,
    measured: Measured,
    others: Sequence[Measured],
    targets: Sequence[float],
    seed: int,
) -> Artifact:
    """Write the artifact anew with thresholds chosen on `measured`, and what they do on `others`.

    The graph stays as it is, and so does its hash: galleries stay valid.

    Raises:
        DataError: too few pairs for a target.
    """
    thresholds = choose(measured, targets, seed)
    verification = Verification(
        metric=_metric(artifact), thresholds=thresholds, pairs=measured.pairs
    )
    metrics = [m for each in (measured, *others) for m in report(each, thresholds, seed)]
    update = {"verification": verification, "metrics": tuple(metrics)}
    manifest = artifact.manifest.model_copy(update=update)
    return artifact.rewrite(manifest, artifact.contents())


def _metric(artifact: Artifact) -> str:
    if artifact.manifest.task != "embedding":
        raise ArtifactError(f"{artifact.manifest.name} gives classes; only embeddings have pairs.")
    return (artifact.manifest.verification or Verification()).metric


def _check_unseen(artifact: Artifact, name: str) -> None:
    collection, _, split = name.partition(":")
    trained = artifact.manifest.dataset
    if trained is not None and trained.name == collection and split != "test":
        raise DataError(
            f"{artifact.manifest.name} was trained on people of {collection}:train; thresholds "
            f"need people it never saw: {collection}:test, or another collection."
        )
