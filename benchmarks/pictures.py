"""The pictures that are sent, and what a model answers to them."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from artifacts import Artifact, Runtime, probabilities
from benchmarks.load import post

PICTURES = 64
"""Different ones of each size; requests take them in turn."""
TOLERANCE = 1e-3
"""Of probabilities. Batches of other sizes round in other ways; a wrong picture is far off."""
QUALITY = 95


class Pictures(NamedTuple):
    """Encoded pictures and the logits (N x C) the model gives each of them alone."""

    contents: list[bytes]
    logits: np.ndarray


def make_pictures(artifact: Artifact, images: Path | None, *, mixed: bool) -> Pictures:
    """JPEGs for a model, of its native size, or of mixed sizes that it takes.

    Args:
        artifact: a classifier.
        images: folder of photographs; without, pictures are generated: soft shapes with a grain
            that makes them as heavy as photographs (35 kB at 224 px).
        mixed: sizes vary over the native range; around the size of a network that has but one.
    """
    random = np.random.default_rng(0)
    policy = artifact.manifest.input
    if policy.fixed_size is not None:
        low, high = min(policy.fixed_size) // 2, 2 * max(policy.fixed_size)
        size = (policy.fixed_size[1], policy.fixed_size[0])
    else:
        low, high = policy.native_side or (32, 64)
        size = (high, high)
    files = sorted(path for path in images.rglob("*.*") if path.is_file()) if images else []
    contents = []
    for number in range(PICTURES):
        width, height = random.integers(low, high + 1, 2).tolist() if mixed else size
        source = files[number % len(files)] if files else None
        file = BytesIO()
        _picture(source, (width, height), random).save(file, "JPEG", quality=QUALITY)
        contents.append(file.getvalue())
    runtime = Runtime.open(artifact)
    pixels = [np.asarray(Image.open(BytesIO(content)).convert("RGB")) for content in contents]
    logits = [runtime.run([picture], ["logits"])["logits"][0] for picture in pixels]
    return Pictures(contents, np.stack(logits))


def _picture(
    source: Path | None, size: tuple[int, int], random: np.random.Generator
) -> Image.Image:
    if source is not None:
        with Image.open(source) as image:
            return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    coarse = random.integers(0, 256, (5, 5, 3), np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    grain = random.normal(0, 10, (*soft.shape[:2], 1))
    return Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))


class Questions:
    """Requests with `each` pictures, and the check of their answers.

    Args:
        artifact: the model.
        pictures: its pictures.
        path: where the server classifies.
        each: pictures of a request.
        vitrine: the answers name the classes, and are calibrated.
    """

    def __init__(
        self, artifact: Artifact, pictures: Pictures, path: str, each: int, *, vitrine: bool
    ) -> None:
        self._places = [[(i + j) % PICTURES for j in range(each)] for i in range(PICTURES)]
        self.requests = [
            post(path, [pictures.contents[place] for place in places], "image")
            for places in self._places
        ]
        temperature = artifact.manifest.temperature if vitrine else 1.0
        self._expected = probabilities(pictures.logits, temperature)  # (N, C)
        classes = artifact.manifest.classes
        self._labels: dict[Any, int] = {name if vitrine else i: i for i, name in enumerate(classes)}

    def right(self, index: int, answer: Any) -> bool:
        """Whether an answer to the request with that index holds the right probabilities."""
        found = answer["pictures"]
        places = self._places[index]
        return (
            len(found) == len(places)
            and all(
                abs(guess["probability"] - self._expected[place, self._labels[guess["class"]]])
                <= TOLERANCE
                for place, picture in zip(places, found, strict=True)
                for guess in picture["top"]
            )
            and all(
                picture["top"][0]["probability"] >= self._expected[place].max() - TOLERANCE
                for place, picture in zip(places, found, strict=True)
            )
        )
