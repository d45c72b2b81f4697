"""Chooses the thresholds of an embedding by target false-match rate, and measures what they do."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from artifacts import Artifact, DataError, Runtime
from artifacts.datasets import ImageSet, load
from artifacts.datasets.base import FileImages
from artifacts.errors import ArtifactError
from artifacts.faces import Detector, align
from artifacts.graph import OUTPUTS
from artifacts.manifest import Verification
from artifacts.runtime import Picture
from training.card import face_card
from training.verification import Floats, Ints, Measured, choose, report

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
    collection, _, split = name.partition(":")
    _check_unseen(artifact, collection, split)
    sets = [load(collection, each) for each in (("train", "test") if split == "all" else (split,))]
    random = np.random.default_rng(seed)
    images: list[Picture] = []
    people: list[int] = []
    for drawn, number in ((each, c) for each in sets for c in range(len(each.classes))):
        chosen = random.permutation(np.flatnonzero(drawn.labels == number))[:per_person]
        images += [drawn.images[i] for i in sorted(chosen)]
        people += [_offset(sets, drawn) + number] * len(chosen)
    vectors, found = embed(artifact, images, aligned=aligned)
    first, second = np.triu_indices(len(found), 1)
    numbers = np.array(people)[found]
    return Measured(
        source=name,
        distances=_distances(vectors, first, second, metric),
        people=np.stack([numbers[first], numbers[second]], 1),
        pictures=len(found),
        missed=len(images) - len(found),
    )


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
    vectors, found = embed(artifact, FileImages(paths), aligned=aligned)
    place = {paths[number]: row for row, number in enumerate(found)}
    kept = [i for i in range(len(rows)) if left[i] in place and right[i] in place]
    first = np.array([place[left[i]] for i in kept], np.int64)
    second = np.array([place[right[i]] for i in kept], np.int64)
    everybody = {name: number for number, name in enumerate(sorted({n for p in names for n in p}))}
    people = [[everybody[name] for name in names[i]] for i in kept]
    return Measured(
        source=file.name,
        distances=_distances(vectors, first, second, metric),
        people=np.array(people, np.int64).reshape(-1, 2),
        pictures=len(found),
        missed=len(paths) - len(found),
    )


def embed(
    artifact: Artifact, images: Sequence[Picture], *, aligned: bool
) -> tuple[npt.NDArray[np.float32], Ints]:
    """Embed the largest face of each picture, as the server does.

    Returns:
        N x D, and the places of the N pictures in which a face was found.
    """
    runtime = Runtime.open(artifact)
    detector = None if aligned else Detector()
    chips, found = [], []
    for place in track(range(len(images)), "finding faces"):
        picture = images[place]
        if detector is not None:
            faces = detector.find(picture)
            if not faces:
                continue
            picture = align(picture, faces[0].landmarks)
        chips.append(runtime.prepare(picture))
        found.append(place)
    if not found:
        raise DataError("no face was found in any picture; --aligned takes them as faces.")
    output = OUTPUTS["embedding"]
    return runtime.run(chips, [output])[output], np.array(found)


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
    files = {name: (artifact.path / name).read_bytes() for name in manifest.files}
    files["card.md"] = face_card(manifest).encode()
    return Artifact.save(manifest, files, artifact.path.parent)


def _distances(vectors: npt.NDArray[np.float32], first: Ints, second: Ints, metric: str) -> Floats:
    rows = vectors.astype(np.float64)
    if metric == "cosine":
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.maximum(1 - _dots(rows, first, second), 0.0)
    squares = (rows**2).sum(1)
    apart = squares[first] + squares[second] - 2 * _dots(rows, first, second)
    lengths: Floats = np.sqrt(np.maximum(apart, 0.0))
    return lengths


def _dots(rows: Floats, first: Ints, second: Ints) -> Floats:
    products: Floats = (rows @ rows.T)[first, second]
    return products


def _metric(artifact: Artifact) -> str:
    if artifact.manifest.task != "embedding":
        raise ArtifactError(f"{artifact.manifest.name} gives classes; only embeddings have pairs.")
    return (artifact.manifest.verification or Verification()).metric


def _check_unseen(artifact: Artifact, collection: str, split: str) -> None:
    trained = artifact.manifest.dataset
    if trained is not None and trained.name == collection and split != "test":
        raise DataError(
            f"{artifact.manifest.name} was trained on people of {collection}:train; thresholds "
            f"need people it never saw: {collection}:test, or another collection."
        )


def _offset(sets: Sequence[ImageSet], drawn: ImageSet) -> int:
    """Number of people in the sets before this one."""
    before = 0
    for each in sets:
        if each is drawn:
            return before
        before += len(each.classes)
    return before
