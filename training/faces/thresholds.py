"""Chooses thresholds of an embedding by target false-match rate and measures their error rates."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts import Artifact, DataError, Runtime
from artifacts.datasets import load
from artifacts.datasets.base import FileImages, take
from artifacts.errors import ArtifactError
from artifacts.faces import Detector, main_face
from artifacts.faces.embedding import embed_chips
from artifacts.pictures import Picture
from artifacts.progress import track
from artifacts.verification.decision import Verification
from artifacts.verification.error_rates import choose, report
from artifacts.verification.pairs import (
    Ints,
    Measured,
    Vectors,
    all_pairs,
    distances,
    pooled,
)

TARGETS = (1e-2, 1e-3, 1e-4)


def measure_people(
    artifact: Artifact, name: str, per_person: int, seed: int, *, aligned: bool
) -> Measured:
    """Measure the distances of all pairs among pictures drawn of each person of a data set.

    Args:
        artifact: An embedding.
        name: `faces/COLLECTION:SPLIT`; the split is train, test, or all for both.
        per_person: Maximum number of pictures drawn of each person.
        seed: Seed of the draw.
        aligned: Whether the pictures are aligned faces; otherwise faces are detected in them.

    Raises:
        ArtifactError: The artifact is not an embedding.
        DataError: The data is missing, the model was trained on it, or it shows no face.
    """
    how = _verification(artifact)
    _check_unseen(artifact, name)
    images, people = load_people(name)
    random = np.random.default_rng(seed)
    drawn = [
        np.sort(random.permutation(np.flatnonzero(people == number))[:per_person])
        for number in range(int(people.max()) + 1)
    ]
    places = np.concatenate(drawn)
    runtime, chosen = Runtime.open(artifact), take(images, places)
    vectors, found = embed(runtime, chosen, aligned=aligned, mirrored=how.mirrored)
    return all_pairs(vectors, people[places][found], name, how.metric, len(places) - len(found))


def measure_pairs(artifact: Artifact, file: Path, *, aligned: bool) -> Measured:
    """Measure the distances of the pairs listed in a CSV file.

    Args:
        artifact: An embedding.
        file: CSV file with the columns first_person, first, second_person, second; the pictures
            are paths relative to the file's folder.
        aligned: See `measure_people`.

    Raises:
        ArtifactError: The artifact is not an embedding.
        DataError: The file or a picture cannot be read, or no picture shows a face.
    """
    how = _verification(artifact)
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        left = [file.parent / row["first"] for row in rows]
        right = [file.parent / row["second"] for row in rows]
        names = [(row["first_person"], row["second_person"]) for row in rows]
    except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: this is not a list of pairs ({error}); a CSV file with the columns "
            "first_person, first, second_person, second is expected."
        ) from None
    paths = sorted({*left, *right})
    runtime = Runtime.open(artifact)
    vectors, found = embed(runtime, FileImages(paths), aligned=aligned, mirrored=how.mirrored)
    place = {paths[number]: row for row, number in enumerate(found)}
    kept = [i for i in range(len(rows)) if left[i] in place and right[i] in place]
    first = np.array([place[left[i]] for i in kept], np.int64)
    second = np.array([place[right[i]] for i in kept], np.int64)
    numbers = {name: number for number, name in enumerate(sorted({n for p in names for n in p}))}
    people = [[numbers[name] for name in names[i]] for i in kept]
    return Measured(
        source=file.name,
        distances=distances(vectors, first, second, how.metric),
        people=np.array(people, np.int64).reshape(-1, 2),
        pictures=len(found),
        missed=len(paths) - len(found),
    )


def embed(
    runtime: Runtime,
    images: Sequence[Picture] | Picture,
    *,
    aligned: bool,
    mirrored: bool = False,
) -> tuple[Vectors, Ints]:
    """Embed the main face of each picture, as the server does.

    Args:
        runtime: Runtime of an embedding.
        images: Pictures uint8 H x W x 3, of any sizes.
        aligned: Whether the pictures are aligned faces, which need no detection.
        mirrored: See `artifacts.verification.decision.Verification`.

    Returns:
        Embeddings N x D, and the indices of the N pictures in which a face was found.

    Raises:
        DataError: No picture shows a face.
    """
    chips, found = (images, np.arange(len(images))) if aligned else detect_faces(images)
    return embed_chips(runtime, chips, mirrored=mirrored), found


def detect_faces(images: Sequence[Picture] | Picture) -> tuple[list[Picture], Ints]:
    """Detect and align the main face of each picture.

    Returns:
        The faces, and the indices of the pictures in which one was found.

    Raises:
        DataError: No picture shows a face.
    """
    detector = Detector()
    chips = [main_face(detector, image) for image in track(images, "finding faces")]
    found = [place for place, chip in enumerate(chips) if chip is not None]
    if not found:
        raise DataError(
            "no face was found in any picture; if they are aligned faces already, give --aligned."
        )
    return [chip for chip in chips if chip is not None], np.array(found)


def load_people(name: str) -> tuple[Sequence[Picture] | Picture, Ints]:
    """Return the pictures of a data set of people and the number of the person on each.

    Args:
        name: `NAME:SPLIT`; the split is train, test, or all for both. No person is in both.

    Raises:
        DataError: The data is missing.
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
    measured: Sequence[Measured],
    others: Sequence[Measured],
    targets: Sequence[float],
    seed: int,
) -> Artifact:
    """Choose thresholds on `measured` and write the artifact with them and their error rates.

    The graph and its hash stay the same, so galleries remain valid.

    Args:
        artifact: An embedding.
        measured: Pairs on which the thresholds are chosen and measured, of one or more sources.
        others: Pairs of other people on which they are measured, too.
        targets: Target false-match rates.
        seed: Seed of the bootstrap.

    Raises:
        DataError: There are too few pairs for a target.
    """
    files = artifact.contents()
    together = pooled(measured)
    thresholds = choose(together, targets, seed)
    verification = _verification(artifact).model_copy(
        update={"thresholds": thresholds, "pairs": together.pairs}
    )
    metrics = [m for each in (*measured, *others) for m in report(each, thresholds, seed)]
    update = {"verification": verification, "metrics": tuple(metrics)}
    manifest = artifact.manifest.model_copy(update=update)
    return artifact.rewrite(manifest, files)


def _verification(artifact: Artifact) -> Verification:
    if artifact.manifest.task != "embedding":
        raise ArtifactError(
            f"{artifact.manifest.name} is a classifier; only embeddings have thresholds."
        )
    return artifact.manifest.verification or Verification()


def with_mirroring(artifact: Artifact, mirrored: bool) -> Artifact:
    """Return the artifact with another choice of `Verification.mirrored`, not yet written.

    Raises:
        ArtifactError: The artifact is not an embedding.
    """
    verification = _verification(artifact).model_copy(update={"mirrored": mirrored})
    update = {"verification": verification}
    return replace(artifact, manifest=artifact.manifest.model_copy(update=update))


def _check_unseen(artifact: Artifact, name: str) -> None:
    collection, _, split = name.partition(":")
    trained = artifact.manifest.dataset
    if trained is not None and trained.name == collection and split != "test":
        raise DataError(
            f"{artifact.manifest.name} was trained on people of {collection}:train; thresholds "
            f"need people it has not seen: use {collection}:test or another collection."
        )
