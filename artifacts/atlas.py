"""The atlas: example pictures of an artifact, with their features and their positions on a map.

The neighbours of a new picture are searched among them. An atlas consists of two files of the
artifact: the arrays, and a contact sheet of thumbnails. The manifest lists their hashes.
"""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from artifacts.artifact import MODEL_FILE, Artifact
from artifacts.errors import ArtifactError
from artifacts.pictures import Picture

ATLAS_FILE = "atlas.npz"
SHEET_FILE = "atlas.jpg"
PLACING_NEIGHBOURS = 10
"""Number of nearest pictures whose median position is the position of a new picture."""
GREY = (127, 127, 127)
QUALITY = 90
"""JPEG quality of the sheet. Its chroma is not subsampled, because thumbnails are so small."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Atlas:
    """N pictures on a map."""

    graph: str
    """sha256 of the artifact's float32 graph; the int8 graph gives nearly the same features."""
    data: str
    """Description of the pictures."""
    side: int
    """Width and height of each picture on the sheet, in pixels."""
    labels: tuple[str, ...]
    """Class names of the N pictures; empty strings where the class is unknown."""
    predicted: tuple[str, ...]
    """Most probable classes of the N pictures; for multi-label models the present ones, joined by
    `|`, and for embedding models empty strings."""
    places: Floats
    """N x 2: positions (x, y) from 0 to 1, y pointing down."""
    vectors: Floats
    """N x D features of the graph, stored in half precision."""

    @property
    def columns(self) -> int:
        """Number of pictures in a row of the sheet, which keeps the order of the atlas."""
        return math.ceil(math.sqrt(len(self.labels)))

    @classmethod
    def read(cls, artifact: Artifact) -> Self | None:
        """Return the atlas of an artifact, or None if it has none or one of another graph.

        Raises:
            ArtifactError: the file is not a valid atlas.
        """
        if not {ATLAS_FILE, SHEET_FILE} <= artifact.manifest.files.keys():
            return None
        path = artifact.path / ATLAS_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                atlas = cls(
                    graph=str(arrays["graph"]),
                    data=str(arrays["data"]),
                    side=int(arrays["side"]),
                    labels=tuple(arrays["labels"].tolist()),
                    predicted=tuple(arrays["predicted"].tolist()),
                    places=arrays["places"].astype(np.float32),
                    vectors=arrays["vectors"].astype(np.float32),
                )
        except (OSError, EOFError, ValueError, LookupError, TypeError, BadZipFile) as error:
            raise ArtifactError(
                f"{path}: not an atlas ({error}); write it again with `vitrine analyse atlas`."
            ) from None
        count = len(atlas.vectors)
        whole = atlas.vectors.ndim == 2 and atlas.places.shape == (count, 2)  # noqa: PLR2004
        if not (whole and count == len(atlas.labels) == len(atlas.predicted)):
            raise ArtifactError(
                f"{path}: its arrays are not of the same pictures; write it again with "
                "`vitrine analyse atlas`."
            )
        return atlas if atlas.graph == artifact.manifest.files[MODEL_FILE] else None

    def content(self) -> bytes:
        """Return the content of `ATLAS_FILE`.

        Raises:
            ArtifactError: half precision cannot represent the features.
        """
        with np.errstate(over="ignore"):
            halves = self.vectors.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ArtifactError(
                "some features are not finite or exceed 65504, the limit of half precision; an "
                "atlas cannot store them."
            )
        file = io.BytesIO()
        np.savez_compressed(
            file,
            graph=np.array(self.graph),
            data=np.array(self.data),
            side=np.array(self.side),
            labels=np.array(self.labels),
            predicted=np.array(self.predicted),
            places=self.places.astype(np.float32),
            vectors=halves,
        )
        return file.getvalue()

    def nearest(self, vectors: Floats, count: int) -> tuple[Ints, Floats]:
        """Find the pictures of the atlas that are nearest to each of M new ones.

        Args:
            vectors: M x D features.
            count: number of neighbours; all pictures if there are fewer.

        Returns:
            Indices and Euclidean distances, M x count each, nearest first.
        """
        apart = np.stack([np.linalg.norm(self.vectors - each, axis=1) for each in vectors])
        order = np.argsort(apart, axis=1, kind="stable")[:, :count]
        return order, np.take_along_axis(apart, order, axis=1)

    def place(self, vectors: Floats) -> Floats:
        """Return the positions of M new pictures, M x 2: the median of their nearest neighbours'.

        openTSNE initialises new points in this way (Poličar et al. 2023). The optimisation that
        follows there is left out.
        """
        indices, _ = self.nearest(vectors, PLACING_NEIGHBOURS)
        places: Floats = np.median(self.places[indices], axis=1)
        return places


def draw_sheet(pictures: Iterable[Picture], side: int) -> bytes:
    """Return the content of `SHEET_FILE`: the pictures row by row, each in a grey square.

    Args:
        pictures: uint8 H x W x 3 each, at least one; only one is held in memory at a time.
        side: width and height of a square in pixels.
    """
    squares = [ImageOps.pad(Image.fromarray(each), (side, side), color=GREY) for each in pictures]
    columns = math.ceil(math.sqrt(len(squares)))
    size = (columns * side, math.ceil(len(squares) / columns) * side)
    sheet = Image.new("RGB", size, GREY)
    for number, small in enumerate(squares):
        sheet.paste(small, (number % columns * side, number // columns * side))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return file.getvalue()
