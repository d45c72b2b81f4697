"""The artifact that a recipe learns from by the loss distillation, and what it has answered."""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.manifest import TeacherRecord
from training.data import CACHE, Pixels
from training.recipe import Recipe, RecipeError


def open_teacher(recipe: Recipe) -> Artifact:
    """Open the artifact that a recipe names as its teacher.

    Raises:
        ArtifactError: It is missing.
        RecipeError: It has another task than the recipe.
    """
    artifact, wanted = Artifact.open(recipe.loss.teacher), recipe.loss.task
    if artifact.manifest.task == wanted:
        return artifact
    if wanted == "embedding":
        raise RecipeError(
            f"loss.teacher: {recipe.loss.teacher} is a classifier; name an artifact that embeds "
            "faces, such as faces-dlib, or set loss.views to learn what a classifier answers."
        )
    raise RecipeError(
        f"loss.teacher: {recipe.loss.teacher} has the task {artifact.manifest.task}; with "
        "loss.views, name an artifact that classifies, such as cifar10-lite0."
    )


def teacher_record(recipe: Recipe) -> TeacherRecord | None:
    """Return what the manifest says about the recipe's teacher, if it has one.

    Raises:
        ArtifactError: The teacher is missing.
        RecipeError: It has another task than the recipe.
    """
    if not recipe.loss.teacher:
        return None
    manifest = open_teacher(recipe).manifest
    return TeacherRecord(name=manifest.name, title=manifest.title, graph=manifest.files[MODEL_FILE])


def kept_answers(
    artifact: Artifact, images: Pixels, ask: Callable[[], Iterable[npt.NDArray[np.float32]]]
) -> Tensor:
    """Return an artifact's answers to pictures, which are kept in `CACHE`.

    Args:
        artifact: The teacher.
        images: The pictures, uint8 N x H x W x 3.
        ask: Computes the answers, in parts of some rows each. It is called only if the answers to
            these pictures, from this graph, are not kept already.

    Returns:
        float32 N x D.
    """
    content = hashlib.sha256(np.ascontiguousarray(images).data)
    content.update(artifact.manifest.files[MODEL_FILE].encode())
    path = CACHE / f"teacher-{content.hexdigest()[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # one process computes, the others wait
        if not path.exists():
            partial = path.with_suffix(".partial.npy")
            np.save(partial, np.concatenate(list(ask())))
            partial.rename(path)
    return torch.from_numpy(np.load(path))
