"""The embeddings that a teacher gives the training pictures, for the loss distillation.

The teacher sees every picture as training does before it is augmented, and its mirror image; the
mean of both is learned, so that a picture and its mirror image have one embedding. The mean over
all pictures is subtracted, which changes no distance.
"""

import hashlib
from dataclasses import replace

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from artifacts import Artifact, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.faces.embedding import embed_chips
from artifacts.manifest import TeacherRecord
from artifacts.progress import track
from training.data import CACHE, Pixels, Split, Splits
from training.faces.sampling import with_partners
from training.recipe import Recipe, RecipeError

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
    train, teacher = splits.train, _teacher(recipe)
    images = [train.images, *morphs(train, recipe.loss.morphs, recipe.seed)]
    taught = torch.cat([_embeddings(teacher, part.numpy()) for part in images])
    taught -= taught[: len(train)].mean(0)
    return replace(splits, train=Split(torch.cat(images), taught, train.originals))


def teacher_record(recipe: Recipe) -> TeacherRecord | None:
    """Return what the manifest says about the recipe's teacher, if it has one.

    Raises:
        ArtifactError: The teacher is missing.
        RecipeError: The teacher does not embed.
    """
    if not recipe.loss.teacher:
        return None
    manifest = _teacher(recipe).manifest
    return TeacherRecord(name=manifest.name, title=manifest.title, graph=manifest.files[MODEL_FILE])


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


def _teacher(recipe: Recipe) -> Artifact:
    artifact = Artifact.open(recipe.loss.teacher)
    if artifact.manifest.task != "embedding":
        raise RecipeError(
            f"loss.teacher: {recipe.loss.teacher} is a classifier; name an artifact that embeds "
            "faces, such as faces-dlib."
        )
    return artifact


def _embeddings(artifact: Artifact, images: Pixels) -> Tensor:
    """Return an artifact's embeddings of pictures, float32 N x D, which are kept in `CACHE`."""
    content = hashlib.sha256(np.ascontiguousarray(images).data)
    content.update(artifact.manifest.files[MODEL_FILE].encode())
    path = CACHE / f"teacher-{content.hexdigest()[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # one process computes, the others wait
        if not path.exists():
            runtime = Runtime.open(artifact)
            parts = [
                embed_chips(runtime, images[start : start + CHUNK], mirrored=True)
                for start in track(range(0, len(images), CHUNK), f"asking {artifact.name}")
            ]
            partial = path.with_suffix(".partial.npy")
            np.save(partial, np.concatenate(parts))
            partial.rename(path)
    return torch.from_numpy(np.load(path))
