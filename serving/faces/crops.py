"""Finds the faces of a picture that are embedded, or the reason why there is none."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from artifacts.faces import Detector, Found, align, by_prominence
from artifacts.faces.alignment import roll, sharpness
from artifacts.pictures import Picture
from serving.faces.schemas import Several
from serving.problems import RequestError

# Measured on people of CelebA at FMR 1e-3: of the pairs of one person, 0.31 do not match if the
# faces are left as they are (90 px). If one of the two is scaled to 40, 28 or 20 px, 0.39, 0.50 or
# 0.73 do not; if one is blurred to a sharpness of 3.4, 2.6 or 1.9, 0.45, 0.56 or 0.81 do not. Pairs
# of strangers match no more often in any of these cases.
MIN_SIDE = 32
"""Minimum side of a face, in pixels; smaller faces are refused."""
MIN_SHARPNESS = 3.0
"""Minimum sharpness of a face, in grey levels; more blurred faces are refused."""
MAX_ROLL = 60.0
"""Maximum rotation of a face in the picture's plane, in degrees; others are refused."""
MAX_FACES = 64
"""Maximum number of faces of a picture that are embedded, the most prominent ones."""
TURNED_SIDE = 512
"""If no upright face is found, a copy of the picture whose longer side has this many pixels is
searched for a face that is turned."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; (left, top) is its top left pixel."""

    left: int
    top: int
    width: int
    height: int


class Quality(NamedTuple):
    """What is measured of a face that was found."""

    probability: float
    """Probability that it is a face, according to the detector, 0..1."""
    side: float
    """Side of the square that has the area of the face's box, in pixels."""
    sharpness: float
    """Sharpness in grey levels; see `artifacts.faces.alignment.sharpness`."""
    roll: float
    """Rotation in the picture's plane, in degrees clockwise."""


@dataclass(frozen=True)
class Face:
    """A face chosen in a picture, or the reason why there is none.

    Attributes:
        crop: the aligned face, uint8 H x W x 3 RGB; None if there is a problem.
        box: where the face is; None if no face was chosen.
        found: boxes of all faces, the largest first.
        quality: None if the picture was sent as an aligned crop, or no face was chosen.
        problem: why the face cannot be embedded; None if it can.
    """

    crop: Picture | None
    box: Box | None
    found: tuple[Box, ...] = ()
    quality: Quality | None = None
    problem: RequestError | None = None


def find_faces(picture: Picture, *, aligned: bool, several: Several = "main") -> list[Face]:
    """Find the faces of a picture that are asked for, and check that they can be embedded.

    Args:
        picture: uint8 H x W x 3 RGB, upright.
        aligned: whether the picture already is the aligned crop of one face that the model expects;
            it is then used as it is, without any check.
        several: if there are several faces, which of them to take, or to refuse the picture.

    Returns:
        At least one face, which has a problem if the picture has none or is refused. With several
        = all, up to `MAX_FACES`, the most prominent first; otherwise one.
    """
    height, width = picture.shape[:2]
    if aligned:
        whole = Box(0, 0, width, height)
        return [Face(picture, whole, (whole,))]
    faces = detector().find(picture)
    boxes = tuple(_box(face, width, height) for face in faces)
    if not faces:
        return [Face(None, None, problem=_no_face_problem(picture))]
    if len(faces) > 1 and several == "error":
        reason = (
            f"{len(faces)} faces were found; send a picture of one face, or send "
            "several=main to use the main one."
        )
        return [Face(None, None, boxes, problem=RequestError("several-faces", reason))]
    ordered = faces if several == "largest" else by_prominence(faces, width, height)
    wanted = ordered[: MAX_FACES if several == "all" else 1]
    return [_checked(picture, face, boxes) for face in wanted]


def _checked(picture: Picture, face: Found, boxes: tuple[Box, ...]) -> Face:
    """Align a face of a picture, and check that it is good enough to embed."""
    height, width = picture.shape[:2]
    crop = align(picture, face.landmarks)
    quality = Quality(
        probability=face.probability,
        side=face.side,
        sharpness=sharpness(crop),
        roll=roll(face.landmarks),
    )
    problem = _not_upright_problem() if detector().quarters(crop) else _quality_problem(quality)
    return Face(None if problem else crop, _box(face, width, height), boxes, quality, problem)


@cache
def detector() -> Detector:
    """Return the detector of this process, which is created when it is first needed."""
    return Detector(threads=1)


def _quality_problem(quality: Quality) -> RequestError | None:
    """Return why a face of this quality is refused, or None if it is not."""
    if abs(quality.roll) > MAX_ROLL:
        return _not_upright_problem()
    if quality.side < MIN_SIDE:
        return RequestError(
            "face-too-small",
            f"the face measures {quality.side:.0f} px, and at least {MIN_SIDE} px are needed; send "
            "a larger picture of it.",
        )
    if quality.sharpness < MIN_SHARPNESS:
        return RequestError(
            "face-blurred",
            f"the face is too blurred: its sharpness is {quality.sharpness:.1f}, and at least "
            f"{MIN_SHARPNESS:g} is needed; send a sharper picture.",
        )
    return None


def _no_face_problem(picture: Picture) -> RequestError:
    """Return the refusal of a picture without an upright face, which may have a turned one."""
    small = Image.fromarray(picture)
    small.thumbnail((TURNED_SIDE, TURNED_SIDE))
    turns = (np.ascontiguousarray(np.rot90(np.asarray(small), quarters)) for quarters in (2, 1, 3))
    if any(detector().find(turned) for turned in turns):
        return _not_upright_problem()
    return RequestError(
        "no-face",
        "no face was found; send a picture in which a face looks at the camera and takes up at "
        "least a fiftieth of the longer side.",
    )


def _not_upright_problem() -> RequestError:
    return RequestError(
        "face-not-upright",
        "the face is turned too far in the picture's plane; rotate the picture so that the face is "
        f"upright to within {MAX_ROLL:g} degrees.",
    )


def _box(face: Found, width: int, height: int) -> Box:
    """The box of a face, rounded to pixels and clipped to the picture."""
    left, top, right, bottom = (
        int(np.clip(round(float(edge)), 0, limit))
        for edge, limit in zip(face.box, (width - 1, height - 1, width, height), strict=True)
    )
    return Box(left, top, max(1, right - left), max(1, bottom - top))
