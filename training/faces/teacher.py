"""The embeddings that a teacher gives the training pictures, for the loss distillation.

The teacher sees every picture as training does before it is augmented, and its mirror image; the
mean of both is learned, so that a picture and its mirror image have one embedding. The mean over
all pictures is subtracted, which changes no distance.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from artifacts import Artifact, Runtime
from artifacts.faces.embedding import embed_chips
from artifacts.progress import track
from training.data import Pixels, Split, Splits
from training.faces.sampling import with_partners
from training.recipe import Recipe
from training.teacher import kept_answers, open_teacher

CHUNK = 256
"""Number of pictures that the teacher gets at a time."""
LEAST_SHARE = 0.5
"""Smallest share of the first picture in a mixture of two."""


def with_teacher(splits: Splits, recipe: Recipe) -> Splits:
    """Return splits whose training pictures have the embeddings of the recipe's teacher for labels.

    Mixtures of two people are added if the recipe wants them. The validation pictures keep the
    numbers of their people.

    Args:
        splits: The pictures of people.
        recipe: Its `loss`; without a teacher, the splits are returned as they are.

    Raises:
        ArtifactError: The teacher is missing.
        RecipeError: The teacher does not embed.
    """
    if not recipe.loss.teacher:
        return splits
    train, teacher = splits.train, open_teacher(recipe)
    images = [train.images, *morphs(train, recipe.loss.morphs, recipe.seed)]
    taught = torch.cat([_embeddings(teacher, part.numpy()) for part in images])
    taught -= taught[: len(train)].mean(0)
    return replace(splits, train=Split(torch.cat(images), taught, train.originals))


def morphs(train: Split, count: int, seed: int) -> list[Tensor]:
    """Mix every picture `count` times with one of another person, by a share from 0.5 to 1.

    The partner is mirrored in half of the mixtures. The pictures are aligned, so that a mixture
    looks like a face.

    Args:
        train: Pictures uint8 N x H x W x 3 and the numbers of their people.
        count: Number of mixtures of each picture.
        seed: The only source of randomness.

    Returns:
        `count` times the mixtures, uint8 N x H x W x 3.
    """
    generator = torch.Generator().manual_seed(seed)
    mixed = []
    for _ in range(count):
        partners = with_partners(train.labels, (False,), generator)[:, 1]
        drawn, mirrored = torch.rand(2, len(train), 1, 1, 1, generator=generator)
        share = LEAST_SHARE + (1 - LEAST_SHARE) * drawn  # (N, 1, 1, 1)
        mixture = torch.empty_like(train.images)
        for rows in torch.split(torch.arange(len(train)), CHUNK):
            others = train.images[partners[rows]]
            others = torch.where(mirrored[rows] < 0.5, others.flip(2), others)  # noqa: PLR2004
            mixture[rows] = torch.lerp(others.float(), train.images[rows].float(), share[rows]).to(
                torch.uint8
            )
        mixed.append(mixture)
    return mixed


def _embeddings(artifact: Artifact, images: Pixels) -> Tensor:
    """Return an artifact's embeddings of pictures, float32 N x D."""

    def ask() -> Iterator[npt.NDArray[np.float32]]:
        runtime = Runtime.open(artifact)
        for start in track(range(0, len(images), CHUNK), f"asking {artifact.name}"):
            yield embed_chips(runtime, images[start : start + CHUNK], mirrored=True)

    return kept_answers(artifact, images, ask)
