"""The atlas: some pictures of an artifact, their features and their places on a map.

New pictures find their neighbours among them. Two files of the artifact, hashed as all are: the
numbers, and a sheet of all pictures, small.
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
from artifacts.runtime import Picture

ATLAS_FILE = "atlas.npz"
SHEET_FILE = "atlas.jpg"
SURROUNDING = 10
"""Nearest pictures whose places say where a new one lies."""
GREY = (127, 127, 127)
QUALITY = 90
"""Of the sheet's JPEG; its colours are not subsampled, pictures of few pixels have none to lose."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Atlas:
    """N pictures on a map."""

    graph: str
    """sha256 of the artifact's graph in float32; features in integers are close to its."""
    data: str
    """Which pictures."""
    side: int
    """Width and height of each on the sheet, px."""
    labels: tuple[str, ...]
    """N names of their classes; empty where unknown."""
    predicted: tuple[str, ...]
    """N names of the classes that the model finds likeliest; empty of an embedding."""
    places: Floats
    """N x 2: (x, y) from 0 to 1, y downwards."""
    vectors: Floats
    """N x D features, as the graph gives them, in half precision."""

    @property
    def columns(self) -> int:
        """Pictures in a row of the sheet; they stand in the order of the atlas."""
        return math.ceil(math.sqrt(len(self.labels)))

    @classmethod
    def read(cls, artifact: Artifact) -> Self | None:
        """The atlas of an artifact, or None where it has none, or one of another graph.

        Raises:
            ArtifactError: what stands in its file is none.
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
            raise ArtifactError(f"{path}: no atlas ({error}); make it anew.") from None
        count = len(atlas.vectors)
        whole = atlas.vectors.ndim == 2 and atlas.places.shape == (count, 2)  # noqa: PLR2004
        if not (whole and count == len(atlas.labels) == len(atlas.predicted)):
            raise ArtifactError(f"{path}: its arrays are not of the same pictures; make it anew.")
        return atlas if atlas.graph == artifact.manifest.files[MODEL_FILE] else None

    def content(self) -> bytes:
        """Content of `ATLAS_FILE`.

        Raises:
            ArtifactError: features that half precision does not hold.
        """
        with np.errstate(over="ignore"):
            halves = self.vectors.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ArtifactError("features beyond 65504 or not finite: no atlas can hold them.")
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
        """The nearest pictures of each of M new ones, nearest first.

        Args:
            vectors: M x D.
            count: how many; all if there are fewer.

        Returns:
            Their numbers and Euclidean distances, M x count each.
        """
        apart = np.stack([np.linalg.norm(self.vectors - each, axis=1) for each in vectors])
        order = np.argsort(apart, axis=1, kind="stable")[:, :count]
        return order, np.take_along_axis(apart, order, axis=1)

    def place(self, vectors: Floats) -> Floats:
        """Where M new pictures lie, M x 2: the median of the places of their nearest.

        That is where openTSNE begins to place new points (Poličar et al. 2023); its optimisation
        afterwards is left out.
        """
        numbers, _ = self.nearest(vectors, SURROUNDING)
        places: Floats = np.median(self.places[numbers], axis=1)
        return places


def draw_sheet(pictures: Iterable[Picture], side: int) -> bytes:
    """Content of `SHEET_FILE`: the pictures row by row, each in a grey square of `side` px.

    Args:
        pictures: uint8 H x W x 3, at least one; one of them is held at a time.
        side: px.
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
