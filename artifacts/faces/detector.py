"""Finds faces and their landmarks: MTCNN (Zhang et al. 2016, arXiv 1604.02878) in ONNX Runtime.

It is a cascade of three small networks: pnet slides over the picture at several scales and proposes
boxes, rnet classifies these at 24 x 24 px, and onet classifies the remaining ones at 48 x 48 px.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts.input_policy import InputPolicy
from artifacts.pictures import Picture
from artifacts.runtime import Outputs, Runtime

FOLDER = Path(__file__).parent
NETWORKS = {"pnet": None, "rnet": 24, "onet": 48}
"""Width and height of the input of each network in pixels; None means any size."""
CELL, STRIDE = 12, 2
"""Receptive field of an output of pnet, and the step between outputs, in pixels."""
MIN_SIDE = 20
"""Minimum side of faces that are searched for, in pixels of the resized picture."""
MAX_PICTURE_SIDE = 1024
"""Maximum side of the picture that is searched, in pixels; larger pictures are shrunk to it."""
FACTOR = 0.709
"""Ratio of successive scales, which halves the area."""
THRESHOLDS = {"pnet": 0.6, "rnet": 0.7, "onet": 0.8}
"""Probability of a face above which each network keeps a box."""
MARGIN = 0.3
"""Width of a black border, as a share of the longer side, with which faces at the edge of the
picture are found, too."""

MAX_BOXES = 500
"""Maximum number of boxes that pnet passes on, the most probable ones, to bound the time."""

Floats = npt.NDArray[np.float32]


class Found(NamedTuple):
    """A detected face; coordinates are in pixels of the picture."""

    box: Floats
    """Left, top, right, bottom; it may extend beyond the picture."""
    landmarks: Floats
    """5 x 2: x and y of the eyes, the nose and the corners of the mouth; of eyes and corners, the
    one further left in the picture comes first."""
    probability: float

    @property
    def side(self) -> float:
        """Side of the square that has the area of the box."""
        return float(np.sqrt(max(self.box[2] - self.box[0], 0) * max(self.box[3] - self.box[1], 0)))


class Detector:
    """The face detector with its three networks.

    Args:
        threads: number of ONNX Runtime threads within one call; 0 means one per core.
    """

    def __init__(self, threads: int = 0) -> None:
        self._networks = {
            name: Runtime((FOLDER / f"{name}.onnx").read_bytes(), InputPolicy(), threads)
            for name in NETWORKS
        }

    def find(self, picture: Picture) -> list[Found]:
        """Return the faces of a picture (uint8 H x W x 3), the largest first."""
        height, width = picture.shape[:2]
        scale = min(1.0, MAX_PICTURE_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
        margin = round(MARGIN * max(size))
        padded = Image.new("RGB", (size[0] + 2 * margin, size[1] + 2 * margin))
        padded.paste(image, (margin, margin))
        boxes = self._propose(padded)
        boxes, _ = self._refine(padded, "rnet", boxes)
        boxes, landmarks = self._refine(padded, "onet", boxes)
        back = 1 / scale
        faces = [
            Found((box[:4] - margin) * back, (points - margin) * back, float(box[4]))
            for box, points in zip(boxes, landmarks, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.side)

    def quarters(self, chip: Picture) -> int:
        """Return by how many quarter turns an aligned face (uint8 H x W x 3) must be rotated.

        Some faces that lie on their side or upside down are detected as if they were upright, with
        wrong landmarks, and are aligned by these. onet then gives a higher probability to a rotated
        chip than to the chip itself. Of 300 pictures of CelebA and ORL that were rotated by quarter
        turns, 5 still pass as upright; of 189 upright pictures, none is refused.

        Returns:
            0 if the face is upright in the chip, else 1 to 3 counter-clockwise quarter turns.
        """
        small = Image.fromarray(chip).resize((48, 48), Image.Resampling.BILINEAR)
        turns = np.stack([np.rot90(np.asarray(small), quarters) for quarters in range(4)])
        out = self._networks["onet"].run_batch(turns)
        return int(out["probability"][:, 1].argmax())

    def _propose(self, image: Image.Image) -> Floats:
        """Return boxes that may contain a face: N x 5, left, top, right, bottom, probability."""
        scale = CELL / MIN_SIDE
        proposals = [np.empty((0, 5), np.float32)]
        while min(image.size) * scale >= CELL:
            size = (round(image.width * scale), round(image.height * scale))
            small = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
            out = self._networks["pnet"].run_batch(small[None])
            rows, columns = np.nonzero(out["probability"][0, 1] > THRESHOLDS["pnet"])
            corner = np.stack([columns, rows], 1) * STRIDE / np.array(size) * image.size
            cell = CELL / scale
            boxes = np.concatenate(
                [corner, corner + cell, out["probability"][0, 1, rows, columns][:, None]], 1
            ).astype(np.float32)
            kept = _suppress(boxes, 0.5)
            offsets = out["offsets"][0][:, rows[kept], columns[kept]].T
            proposals.append(_shifted(boxes[kept], offsets))
            scale *= FACTOR
        boxes = np.concatenate(proposals)
        return boxes[_suppress(boxes, 0.7)[:MAX_BOXES]]

    def _refine(self, image: Image.Image, name: str, boxes: Floats) -> tuple[Floats, Floats]:
        """Return the boxes that a network keeps, adjusted to the faces, and their landmarks."""
        side = NETWORKS[name]
        if not len(boxes) or side is None:
            return boxes, np.empty((0, 5, 2), np.float32)
        boxes = _squared(boxes)
        seen = np.stack([_cut(image, box, side) for box in boxes])
        out = _in_batches(self._networks[name], seen)
        probability = out["probability"][:, 1]
        passed = probability > THRESHOLDS[name]
        boxes = np.concatenate([boxes[passed, :4], probability[passed, None]], 1)
        points = out.get("landmarks", np.zeros((len(passed), 10), np.float32))[passed]
        points = points.reshape(-1, 2, 5).transpose(0, 2, 1)  # (N, 5, 2)
        sides = boxes[:, 2:4] - boxes[:, :2]
        points = points * sides[:, None] + boxes[:, None, :2]
        boxes = _shifted(boxes, out["offsets"][passed])
        kept = _suppress(boxes, 0.7, of_smaller=name == "onet")
        return boxes[kept], points[kept]


def _cut(image: Image.Image, box: Floats, side: int) -> Picture:
    left, top, right, bottom = (round(float(edge)) for edge in box[:4])
    cut = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))


def _in_batches(network: Runtime, images: Picture, size: int = 256) -> Outputs:
    parts = [network.run_batch(images[i : i + size]) for i in range(0, len(images), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _shifted(boxes: Floats, offsets: Floats) -> Floats:
    """Move the corners of boxes by offsets that are given as fractions of the sides."""
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
    return np.concatenate([boxes[:, :4] + offsets * sides, boxes[:, 4:]], 1)


def _squared(boxes: Floats) -> Floats:
    """Return squares with the centres of the boxes and with their longer sides."""
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half, boxes[:, 4:]], 1)


def _suppress(boxes: Floats, overlap: float, *, of_smaller: bool = False) -> npt.NDArray[np.int64]:
    """Return the indices of the boxes that are left after non-maximum suppression.

    Args:
        boxes: N x 5.
        overlap: maximum intersection over union; above it, the less probable box is dropped.
        of_smaller: divide the intersection by the area of the smaller box instead of the union.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-boxes[:, 4], kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:4], boxes[rest, 2:4])
        intersection = np.maximum(high - low, 0).prod(1)
        union = area[best] + area[rest] - intersection
        divisor = np.minimum(area[best], area[rest]) if of_smaller else union
        order = rest[intersection <= overlap * divisor]
    return np.array(kept, np.int64)
