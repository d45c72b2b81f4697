"""Orders the faces of a photograph by how likely it is that the photograph is of them.

Whoever takes a photograph puts the person it is of large and near the middle. A face counts by the
part of the picture that it covers, and the less, the further it is from the middle:

    area * exp(-CLOSENESS * distance ** 2)

with the distance of the two middles as a share of half the diagonal, 0..1. A product is used rather
than a difference, such as area - 2 * distance ** 2 of FaceNet's alignment
(https://github.com/davidsandberg/facenet), so that a tiny face behind the person never wins by
being in the middle. `python -m benchmarks.face_choice` compares both and chose `CLOSENESS`.
"""

from collections.abc import Sequence

import numpy as np

from artifacts.faces.detector import Found

CLOSENESS = 4.0
"""Weight of the closeness to the middle against the size of a face."""


def by_prominence(
    faces: Sequence[Found], width: int, height: int, closeness: float = CLOSENESS
) -> list[Found]:
    """Return faces in the order of their prominence, the main face of the picture first.

    Args:
        faces: faces of one picture, in any order.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        closeness: weight of the closeness to the middle; with 0, the largest face comes first.
    """
    return sorted(faces, key=lambda face: -prominence(face, width, height, closeness))


def prominence(face: Found, width: int, height: int, closeness: float = CLOSENESS) -> float:
    """Return how prominent a face is: a share of the picture's area, 0..1; see the module.

    Only the part of the box that is in the picture counts.
    """
    limits = np.array([width, height, width, height], np.float64)
    left, top, right, bottom = np.clip(face.box.astype(np.float64) / limits, 0, 1)
    offset = np.array([left + right - 1, top + bottom - 1]) * (width, height) / 2
    distance = np.linalg.norm(offset) / (np.hypot(width, height) / 2)
    return float((right - left) * (bottom - top) * np.exp(-closeness * distance**2))
