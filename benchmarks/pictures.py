"""The pictures that are sent, and the expected answers of a model."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from artifacts import Artifact, Runtime, probabilities
from artifacts.pictures import read_picture
from benchmarks.load import post
from serving.pictures.decode import read_prepared

PICTURES = 64
"""Number of different pictures, which requests take in turn."""
TOLERANCE = 1e-3
"""Tolerance of probabilities: rounding depends on the batch size; a wrong picture is far off."""
GPU_TOLERANCE = 1e-2
"""The same on a GPU, where convolutions may round to TF32, and differently in other batches."""
QUALITY = 95
"""JPEG quality of the pictures."""


class Pictures(NamedTuple):
    """N encoded pictures, and the logits (N x C) that the model gives for each of them alone."""

    contents: list[bytes]
    logits: np.ndarray


def make_pictures(
    artifact: Artifact, images: Path | None, *, mixed: bool, size: tuple[int, int] | None = None
) -> Pictures:
    """Make JPEG pictures for a model, in its smallest native size or in mixed sizes.

    Args:
        artifact: a classifier.
        images: folder of photographs. Without it, pictures are generated: soft shapes with noise
            that makes the files as large as those of photographs (35 kB at 224 px).
        mixed: vary the sizes over the native range, or around the fixed size of the network.
        size: (width, height) in place of the native size.
    """
    random = np.random.default_rng(0)
    policy = artifact.manifest.input
    if policy.fixed_size is not None:
        low, high = min(policy.fixed_size) // 2, 2 * max(policy.fixed_size)
        native = (policy.fixed_size[1], policy.fixed_size[0])
    else:
        low, high = policy.native_side or (32, 64)
        native = (low, low)
    files = sorted(path for path in images.rglob("*.*") if path.is_file()) if images else []
    contents = []
    for number in range(PICTURES):
        width, height = random.integers(low, high + 1, 2).tolist() if mixed else size or native
        source = files[number % len(files)] if files else None
        file = BytesIO()
        _picture(source, (width, height), random).save(file, "JPEG", quality=QUALITY)
        contents.append(file.getvalue())
    runtime = Runtime.open(artifact)
    prepared = [read_prepared([content], policy)[0].picture for content in contents]
    logits = [runtime.run([p], ["logits"], prepared=True)["logits"][0] for p in prepared]
    return Pictures(contents, np.stack(logits))


def _picture(
    source: Path | None, size: tuple[int, int], random: np.random.Generator
) -> Image.Image:
    if source is not None:
        return Image.fromarray(read_picture(source)).resize(size, Image.Resampling.BICUBIC)
    coarse = random.integers(0, 256, (5, 5, 3), np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    grain = random.normal(0, 10, (*soft.shape[:2], 1))
    return Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))


class CheckedRequests:
    """Requests with `each` pictures, and the check of the answers to them.

    Args:
        artifact: the model.
        pictures: the pictures to send, with the expected logits.
        path: path of the server's address for classification.
        each: number of pictures in a request.
        vitrine: whether answers are Vitrine's, with names of classes and calibrated probabilities;
            the peers answer with class indices and uncalibrated probabilities.
        tolerance: largest difference of a probability that is right.
    """

    def __init__(
        self,
        artifact: Artifact,
        pictures: Pictures,
        path: str,
        each: int,
        *,
        vitrine: bool,
        tolerance: float = TOLERANCE,
    ) -> None:
        self._tolerance = tolerance
        self._places = [[(i + j) % PICTURES for j in range(each)] for i in range(PICTURES)]
        self.requests = [
            post(path, [pictures.contents[place] for place in places], "image")
            for places in self._places
        ]
        temperature = artifact.manifest.temperature if vitrine else 1.0
        self._expected = probabilities(pictures.logits, temperature)  # (N, C)
        classes = artifact.manifest.classes
        self._labels: dict[Any, int] = {name if vitrine else i: i for i, name in enumerate(classes)}

    def is_right(self, index: int, answer: Any) -> bool:
        """Return whether the answer to the request with an index has the expected probabilities."""
        found = answer if isinstance(answer, list) else answer["pictures"]
        places = self._places[index]
        return (
            len(found) == len(places)
            and all(
                abs(guess["probability"] - self._expected[place, self._labels[guess["class"]]])
                <= self._tolerance
                for place, picture in zip(places, found, strict=True)
                for guess in picture["top"]
            )
            and all(
                picture["top"][0]["probability"] >= self._expected[place].max() - self._tolerance
                for place, picture in zip(places, found, strict=True)
            )
        )
