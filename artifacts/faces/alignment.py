"""Aligns a detected face so that eyes, nose and mouth are where the embedding expects them.

The aligned face, called a chip, follows dlib: 150 x 150 px, with the face in the centre and a
margin of a quarter of its size around it. dlib places it by the corners of the eyes and the base of
the nose. `TEMPLATE` contains the positions of this detector's landmarks in such chips: the medians
over 138 pictures of CelebA, which differ by 0.01 from those over 96 pictures of ORL.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts.pictures import Picture

SIDE = 150
"""Width and height of an aligned face in pixels."""
TEMPLATE = np.array([(0.321, 0.304), (0.679, 0.304), (0.5, 0.524), (0.34, 0.68), (0.66, 0.68)])
"""Positions of the landmarks in an aligned face, as fractions of its side."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def align(picture: Picture, landmarks: Floats) -> Picture:
    """Rotate, scale and crop a face so that it is upright and of standard size.

    Args:
        picture: uint8 H x W x 3.
        landmarks: 5 x 2, in pixels of the picture.

    Returns:
        uint8 150 x 150 x 3, black outside of the picture.
    """
    matrix, shift = similarity(TEMPLATE * SIDE, landmarks.astype(np.float64))
    factor = max(1, int(np.sqrt(abs(np.linalg.det(matrix)))))
    # the picture is reduced first, because the transform alone would skip pixels of a large face
    image = Image.fromarray(picture)
    if factor > 1:
        corners = np.array([(0, 0), (SIDE, 0), (0, SIDE), (SIDE, SIDE)]) @ matrix.T + shift
        size = np.array(image.size)
        low = np.clip(np.floor(corners.min(0)) - factor, 0, size - factor).astype(int)
        high = np.clip(np.ceil(corners.max(0)) + factor, low + factor, size).astype(int)
        image = image.reduce(factor, (*low.tolist(), *high.tolist()))
        matrix, shift = matrix / factor, (shift - low) / factor
    numbers = np.concatenate([matrix, shift[:, None]], 1).ravel().tolist()
    chip = image.transform((SIDE, SIDE), Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)
    return np.asarray(chip)


def similarity(source: Doubles, target: Doubles) -> tuple[Doubles, Doubles]:
    """Fit the similarity transform that maps points closest to others (Umeyama 1991).

    Args:
        source: N x 2, not all equal.
        target: N x 2.

    Returns:
        The scaled rotation A (2 x 2) and the translation b (2) that minimise the squared distance
        of A x + b to the target.
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred = source - source_mean
    u, singular, v = np.linalg.svd((target - target_mean).T @ centred)
    signs = np.array([1.0, np.sign(np.linalg.det(u @ v))])  # excludes reflections
    scale = (singular * signs).sum() / (centred**2).sum()
    matrix = scale * (u * signs) @ v
    return matrix, target_mean - matrix @ source_mean


def roll(landmarks: Floats) -> float:
    """Return the roll angle of a face: its clockwise rotation in the picture, -180 to 180 degrees.

    Args:
        landmarks: 5 x 2.
    """
    matrix, _ = similarity(TEMPLATE, landmarks.astype(np.float64))
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def sharpness(chip: Picture) -> float:
    """Return the standard deviation of the Laplacian in the centre of a chip, in grey levels.

    Args:
        chip: uint8 150 x 150 x 3.
    """
    grey = chip[25:125, 25:125].astype(np.float64) @ (0.299, 0.587, 0.114)
    centre = grey[1:-1, 1:-1]
    neighbours = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((neighbours - 4 * centre).std())
