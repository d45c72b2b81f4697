"""From a picture to the one face of it that is embedded, or the reason why there is none."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from artifacts.faces import Detector, Found, align
from artifacts.faces.alignment import roll, sharpness
from artifacts.runtime import Picture
from serving.faces.schemas import Several
from serving.problems import RequestError

# On people of CelebA, at FMR 1e-3, the share of pairs of one person that do not match is 0.31 with
# faces as they are (90 px); with one of the two 40, 28 or 20 px large it is 0.39, 0.50 or 0.73, and
# blurred to a sharpness of 3.4, 2.6 or 1.9 it is 0.45, 0.56 or 0.81. Strangers match no more often.
MIN_SIDE = 32
"""Smaller faces are refused, px."""
MIN_SHARPNESS = 3.0
"""Faces less sharp are refused, grey levels."""
MAX_ROLL = 60.0
"""Faces turned further than this in the picture's plane are refused, degrees."""
TURNED_SIDE = 512
"""Longer side to which a picture without a face is shrunk, to look for one that is turned, px."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; (left, top) is its first pixel."""

    left: int
    top: int
    width: int
    height: int


class Quality(NamedTuple):
    """What can be measured of a found face."""

    probability: float
    """That it is one, says the detector, 0..1."""
    side: float
    """Of the square with the area of its box, px."""
    sharpness: float
    """As `artifacts.faces.alignment.sharpness`."""
    roll: float
    """How far it is turned, degrees clockwise."""


@dataclass(frozen=True)
class Face:
    """What a picture was taken for.

    Attributes:
        crop: uint8 H x W x 3 RGB, aligned; None where there is a problem.
        box: where the face is; None where none was chosen.
        found: boxes of all faces, the largest first.
        quality: None for crops that were sent as such, or where no face was chosen.
        problem: why the picture has no face to embed; None where it has.
    """

    crop: Picture | None
    box: Box | None
    found: tuple[Box, ...] = ()
    quality: Quality | None = None
    problem: RequestError | None = None


def find_face(picture: Picture, *, aligned: bool, several: Several = "largest") -> Face:
    """The face of a picture.

    Args:
        picture: uint8 H x W x 3 RGB, upright.
        aligned: the picture is the crop of one face already, as the model expects it.
        several: of several faces take the largest, or none.
    """
    height, width = picture.shape[:2]
    if aligned:
        whole = Box(0, 0, width, height)
        return Face(picture, whole, (whole,))
    faces = detector().find(picture)
    boxes = tuple(_box(face, width, height) for face in faces)
    if not faces:
        return Face(None, None, problem=_nothing(picture))
    if len(faces) > 1 and several == "error":
        reason = (
            f"{len(faces)} faces were found; send a picture of one, or take the largest with "
            "several=largest."
        )
        return Face(None, None, boxes, problem=RequestError("several-faces", reason))
    crop = align(picture, faces[0].landmarks)
    quality = Quality(
        probability=faces[0].probability,
        side=faces[0].side,
        sharpness=sharpness(crop),
        roll=roll(faces[0].landmarks),
    )
    problem = _turned() if detector().quarters(crop) else _problem(quality)
    return Face(None if problem else crop, boxes[0], boxes, quality, problem)


@cache
def detector() -> Detector:
    """The detector of this process, made when it is first needed."""
    return Detector(threads=1)


def _problem(quality: Quality) -> RequestError | None:
    """Why a face of this quality is not embedded, if it is not."""
    if abs(quality.roll) > MAX_ROLL:
        return _turned()
    if quality.side < MIN_SIDE:
        return RequestError(
            "face-too-small",
            f"the face is {quality.side:.0f} px large, at least {MIN_SIDE} are needed; send a "
            "larger picture of it.",
        )
    if quality.sharpness < MIN_SHARPNESS:
        return RequestError(
            "face-blurred",
            f"the face is too blurred (sharpness {quality.sharpness:.1f}, at least "
            f"{MIN_SHARPNESS:g} is needed); send a sharper picture.",
        )
    return None


def _nothing(picture: Picture) -> RequestError:
    """The refusal of a picture without an upright face; it may have one that is not."""
    small = Image.fromarray(picture)
    small.thumbnail((TURNED_SIDE, TURNED_SIDE))
    turns = (np.ascontiguousarray(np.rot90(np.asarray(small), quarters)) for quarters in (2, 1, 3))
    if any(detector().find(turned) for turned in turns):
        return _turned()
    return RequestError(
        "no-face",
        "no face was found; send a picture in which one looks at the camera and is at least a "
        "fiftieth of the longer side.",
    )


def _turned() -> RequestError:
    return RequestError(
        "face-not-upright",
        "the face is turned too far in the picture's plane; turn the picture so that it is upright "
        f"(within {MAX_ROLL:g} degrees).",
    )


def _box(face: Found, width: int, height: int) -> Box:
    """Its box within the picture."""
    left, top, right, bottom = (
        int(np.clip(round(float(edge)), 0, limit))
        for edge, limit in zip(face.box, (width - 1, height - 1, width, height), strict=True)
    )
    return Box(left, top, max(1, right - left), max(1, bottom - top))
