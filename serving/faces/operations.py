"""Operations on faces, starting from decoded pictures. There is no HTTP here."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from artifacts.faces.embedding import embed_chips
from artifacts.graph import OUTPUTS
from artifacts.manifest import FACES
from artifacts.pictures import Picture
from artifacts.verification.decision import Threshold, Verification
from serving.faces.crops import Face, find_faces
from serving.faces.gallery import Gallery
from serving.faces.index import distances, is_comparable
from serving.faces.schemas import (
    Candidate,
    EmbeddedPicture,
    FaceBox,
    FaceQuality,
    FoundFace,
    Identified,
    IdentifiedPicture,
    Metric,
    Search,
    Several,
    Verified,
)
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.observability.tracing import span
from serving.problems import RequestError
from serving.schemas import Size

DEFAULT_FMR = 1e-3
NOT_CALIBRATED = (
    "the model has no thresholds: how many strangers match at which distance was never measured"
)
NOT_COMPARABLE = "the embedding of this picture has no distance to others"


class EmbeddedFace(NamedTuple):
    """A face of a picture, and its embedding."""

    found: FoundFace
    vector: npt.NDArray[np.float32] | None
    """Float32 D; None if there is a problem."""
    problem: RequestError | None = None
    """Why the face cannot be embedded, or the picture has none; None if it can."""


def face_model(models: Models, name: str | None = None, hash_: str | None = None) -> ServedModel:
    """Return the model that answers about faces.

    It is the model called `name` if that is given, else the one with the given hash if that is
    served, else the best.

    Raises:
        RequestError: no model serves faces, `name` is not one of them, or the model gives no
            embeddings.
    """
    of_hash = [m for m in models.of_route(FACES) if m.artifact.hash == hash_]
    model = of_hash[0] if of_hash and name is None else models.choose(FACES, name)
    if model.manifest.task != "embedding":
        raise RequestError(
            "task-not-supported", f"model {model.name!r} gives classes, not embeddings."
        )
    return model


def verification(model: ServedModel) -> Verification:
    """Return how embeddings of the model are compared."""
    return model.manifest.verification or Verification()


def dimension(model: ServedModel) -> int:
    """Return the length of the model's embeddings, by running it: the graph may not state it."""
    output = OUTPUTS["embedding"]
    side = max(64, model.manifest.input.accepted_side[0])
    return int(model.runtime.run([np.zeros((side, side, 3), np.uint8)], [output])[output].shape[1])


def threshold_of(model: ServedModel, fmr: float | None) -> Threshold | None:
    """Return the model's threshold for a target false-match rate; None if it was not calibrated.

    Args:
        model: an embedding model.
        fmr: one of the calibrated targets; None means 1e-3 or, if that is not one of them, the
            strictest.

    Raises:
        RequestError: the model was calibrated, but not for this target.
    """
    thresholds = {t.target_fmr: t for t in verification(model).thresholds}
    if not thresholds:
        return None
    if fmr is None:
        return thresholds.get(DEFAULT_FMR) or thresholds[min(thresholds)]
    if fmr not in thresholds:
        choices = ", ".join(f"{target:g}" for target in sorted(thresholds))
        raise RequestError(
            "bad-parameter",
            f"fmr = {fmr:g}: {model.name!r} is calibrated for {choices}; send one of them.",
        )
    return thresholds[fmr]


def embed(
    model: ServedModel,
    pictures: Sequence[Picture],
    *,
    aligned: bool,
    several: Several = "main",
) -> list[EmbeddedFace]:
    """Embed the face of each picture, if it has one, or with several = all its faces.

    Args:
        model: an embedding model.
        pictures: uint8 H x W x 3 RGB, of any mix of sizes.
        aligned: see `find_faces`.
        several: see `find_faces`.

    Returns:
        At least one entry for each picture, in their order.
    """
    faces = [
        (number, face)
        for number, picture in enumerate(pictures)
        for face in find_faces(picture, aligned=aligned, several=several)
    ]
    crops = [face.crop for _, face in faces if face.crop is not None]
    mirrored = verification(model).mirrored
    with span("inference", model=model.name):
        rows = embed_chips(model.runtime, crops, mirrored=mirrored) if crops else ()  # (N, D)
    vectors = iter(rows)
    return [
        EmbeddedFace(
            _found_face(number, pictures[number], face),
            None if face.crop is None else next(vectors),
            face.problem,
        )
        for number, face in faces
    ]


def embeddable(faces: Sequence[EmbeddedFace]) -> list[EmbeddedFace]:
    """Leave out faces that cannot be embedded if their picture shows another that can."""
    fine = {face.found.picture for face in faces if face.vector is not None}
    return [face for face in faces if face.vector is not None or face.found.picture not in fine]


def vectors_of(faces: Sequence[EmbeddedFace]) -> list[npt.NDArray[np.float32]]:
    """Return the embeddings of all faces.

    Raises:
        RequestError: a face has none; the first such picture and the reason are named.
    """
    vectors: list[npt.NDArray[np.float32]] = []
    for face in faces:
        if face.vector is None:
            problem = face.problem or RequestError("no-embedding", NOT_COMPARABLE)
            raise problem.at(face.found.picture)
        vectors.append(face.vector)
    return vectors


def by_picture(faces: Sequence[EmbeddedFace]) -> list[list[EmbeddedFace]]:
    """Divide the faces of several pictures, which are in order, into those of each picture."""
    return [list(found) for _, found in groupby(faces, lambda face: face.found.picture)]


def embedded(faces: Sequence[EmbeddedFace]) -> EmbeddedPicture | RequestError:
    """Return the embeddings of the faces of one picture, or why it has none."""
    fine = embeddable(faces)
    try:
        vectors = vectors_of(fine)
    except RequestError as problem:
        return problem
    return EmbeddedPicture(
        faces=tuple(face.found for face in fine),
        embeddings=[vector.tolist() for vector in vectors],
    )


def check_comparable(model: ServedModel, faces: Sequence[EmbeddedFace]) -> None:
    """Check that every picture has an embedding that can be compared with others.

    Raises:
        RequestError: one does not; the first such picture is named.
    """
    for face, vector in zip(faces, vectors_of(faces), strict=True):
        if not is_comparable(vector, verification(model).metric):
            reason = f"{NOT_COMPARABLE}; send another picture."
            raise RequestError("no-embedding", reason, face.found.picture)


def verify(
    model: ServedModel,
    first: Sequence[EmbeddedFace],
    second: Sequence[EmbeddedFace],
    threshold: Threshold | None,
) -> Verified:
    """Decide at a threshold whether two pictures show one person, by their nearest faces.

    Args:
        model: the model that embedded the faces.
        first: faces of the first picture, at least one entry.
        second: faces of the second picture, at least one entry.
        threshold: distance up to which two faces match; None if the model was not calibrated.
    """
    metric = verification(model).metric
    pairs = [
        (float(distances(a.vector, b.vector[None], metric)[0]), a, b)
        for a in first
        for b in second
        if a.vector is not None
        and b.vector is not None
        and is_comparable(a.vector, metric)
        and is_comparable(b.vector, metric)
    ]
    distance, one, other = None, first[0], second[0]
    result, reason = "cannot_say", _not_comparable_reason(first, second, metric)
    if pairs:
        distance, one, other = min(pairs, key=lambda pair: pair[0])
        reason = NOT_CALIBRATED
        if threshold is not None:
            result = "match" if distance <= threshold.distance else "no_match"
    return Verified.model_validate(
        {
            "model": model.stamp,
            "provider": model.runtime.provider,
            "result": result,
            "reason": reason if result == "cannot_say" else None,
            "distance": distance,
            "metric": metric,
            "threshold": threshold,
            "compared": len(pairs),
            "first": one.found,
            "second": other.found,
        }
    )


def identify(
    model: ServedModel,
    gallery: Gallery,
    faces: Sequence[EmbeddedFace],
    threshold: Threshold | None,
    top: int,
) -> Identified:
    """Find the `top` enrolled people nearest to each face.

    Raises:
        RequestError: the gallery holds another model's embeddings, or its database fails.
    """
    answers = tuple(_identify(model, gallery, face, threshold, top) for face in faces)
    kind, recall = gallery.search_kind()
    return Identified(
        model=model.stamp,
        provider=model.runtime.provider,
        metric=verification(model).metric,
        threshold=threshold,
        search=Search(kind=kind, recall=recall),
        pictures=answers,
    )


def _identify(
    model: ServedModel, gallery: Gallery, face: EmbeddedFace, threshold: Threshold | None, top: int
) -> IdentifiedPicture:
    metric = verification(model).metric
    if face.vector is None or not is_comparable(face.vector, metric):
        reason = face.problem.reason if face.problem else NOT_COMPARABLE
        return IdentifiedPicture(face=face.found, result="cannot_say", reason=reason, people=())
    limit = -1.0 if threshold is None else threshold.distance
    alike = max((t.distance for t in verification(model).thresholds), default=0.0)
    people = tuple(
        Candidate(**neighbour._asdict(), within=neighbour.distance <= limit)
        for neighbour in gallery.identify(face.vector, model.artifact.hash, metric, top, alike)
    )
    if threshold is None:
        return IdentifiedPicture(
            face=face.found, result="cannot_say", reason=NOT_CALIBRATED, people=people
        )
    known = bool(people) and people[0].within
    return IdentifiedPicture(
        face=face.found, result="known" if known else "unknown", reason=None, people=people
    )


def _not_comparable_reason(
    first: Sequence[EmbeddedFace], second: Sequence[EmbeddedFace], metric: Metric
) -> str | None:
    """Return why two pictures cannot be compared, by their main faces; None if they can."""
    for name, faces in (("first", first), ("second", second)):
        if not any(f.vector is not None and is_comparable(f.vector, metric) for f in faces):
            problem = faces[0].problem
            return f"{name} picture: {problem.reason if problem else NOT_COMPARABLE}"
    return None


def _found_face(number: int, picture: Picture, face: Face) -> FoundFace:
    height, width = picture.shape[:2]
    return FoundFace(
        picture=number,
        size=Size(width=width, height=height),
        box=None if face.box is None else FaceBox(**asdict(face.box)),
        found=tuple(FaceBox(**asdict(box)) for box in face.found),
        quality=None if face.quality is None else FaceQuality(**face.quality._asdict()),
        problem=None if face.problem is None else face.problem.code,
    )
