"""From a picture to the faces in it: the one place where detection and alignment belong."""

from dataclasses import dataclass

from artifacts.runtime import Picture
from serving.problems import RequestError


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; (left, top) is its first pixel."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Face:
    """A face that can be embedded.

    Attributes:
        crop: uint8 H x W x 3 RGB, aligned.
        box: where it was found.
    """

    crop: Picture
    box: Box


def find_faces(picture: Picture, *, aligned: bool) -> list[Face]:
    """The faces of a picture.

    Args:
        picture: uint8 H x W x 3 RGB, upright.
        aligned: the picture is the crop of one face already, as the model expects it.

    Raises:
        RequestError: it is not, and no face detector is served here.
    """
    if aligned:
        height, width = picture.shape[:2]
        return [Face(picture, Box(0, 0, width, height))]
    raise RequestError(
        "no-face-detector",
        "no face detector is served here, so faces cannot be found in photographs; send crops of "
        "one face each, aligned as the model expects them, with aligned=true.",
    )
