"""Augmented views of the training pictures, to which a teacher that classifies has answered.

Teacher and student see the same flips, shifts and mixtures, so that the student learns a function
rather than labels (Beyer et al. 2022, arXiv 2106.05237). The teacher sees a view in the size of the
training pictures, and the student in any size that its recipe asks for: it learns from small and
soft pictures what the teacher says about the sharp ones. There are a few views of each picture,
which the epochs use in turn, so that the teacher is asked once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from artifacts import Artifact, Runtime
from artifacts.progress import track
from training.augment import change, resize
from training.data import Split, Splits
from training.inputs import Inputs, Pictures
from training.mixing import blend, draw_shares
from training.placement import OnDevice, Rows, place
from training.recipe import Recipe, RecipeError
from training.teacher import kept_answers, open_teacher

CHUNK = 512
"""Number of pictures that are changed, and that the teacher gets, at a time."""


def with_views(splits: Splits, recipe: Recipe) -> Splits:
    """Return splits whose training pictures have the teacher's answers to their views.

    Args:
        splits: The pictures of a classification.
        recipe: Its `loss` says how many views there are.

    Raises:
        ArtifactError: The teacher is missing.
        RecipeError: The teacher does not classify, or has other classes.
    """
    teacher = open_teacher(recipe)
    if tuple(teacher.manifest.classes) != tuple(splits.classes):
        raise RecipeError(
            f"loss.teacher: the classes of {teacher.name} are not those of {recipe.data.name}; "
            "name an artifact with the same classes in the same order."
        )
    numbers = range(recipe.loss.views)
    taught = [_answers(teacher, view(splits.train.images, recipe, number)) for number in numbers]
    return replace(splits, train=replace(splits.train, taught=torch.stack(taught)))


def view(images: Tensor, recipe: Recipe, number: int) -> Tensor:
    """Augment all pictures, and mix a share of them with another one; the same at every call.

    Args:
        images: uint8 N x H x W x 3.
        recipe: Its `augment`, except for what rescales pictures, and its `loss.mixed`.
        number: Number of the view, in place of the epoch.

    Returns:
        uint8 N x H x W x 3.
    """
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + number)
    shown = torch.empty_like(images)
    for rows in torch.split(torch.arange(len(images)), CHUNK):
        changed = change(images[rows], rows, recipe, generator, number)
        shown[rows] = changed.float().round_().to(torch.uint8)
    if not recipe.loss.mixed:
        return shown
    partners = torch.randperm(len(images), generator=generator)
    chosen, share = draw_shares(len(images), generator)
    share = torch.where(chosen < recipe.loss.mixed, share, 1.0)[:, None, None, None]
    mixed = torch.empty_like(shown)
    for rows in torch.split(torch.arange(len(images)), CHUNK):
        first, second = shown[rows].float(), shown[partners[rows]].float()
        mixed[rows] = blend(first, second, share[rows]).round_().to(torch.uint8)
    return mixed


class Lessons(Pictures):
    """Views of the training pictures as normalised inputs, and the teacher's answers as labels.

    Args:
        split: The pictures, with what a teacher answers to their views.
        recipe: How they are augmented, rescaled and normalised.
        device: Device of the network.
    """

    def __init__(self, split: Split, recipe: Recipe, device: torch.device) -> None:
        super().__init__(split, recipe, device)
        assert split.taught is not None  # noqa: S101
        self._taught = split.taught
        self._shown: tuple[int, Rows] | None = None

    @cached_property
    def _answers(self) -> OnDevice:
        """What the teacher answers, N x K x C."""
        return OnDevice(self._taught.transpose(0, 1), self.device)

    def announce(self, batches: Sequence[Tensor]) -> None:
        """Read nothing ahead; the view of the epoch is made when its first batch is asked for."""

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """See `Source.training`; in place of labels, the teacher's logits float32 N x C."""
        number = epoch % len(self._taught)
        images = self._view(number).take(indices)
        images = resize(images, self.recipe, generator, epoch, self.scenery)
        return self._normalised(images), self._answers.take(indices)[:, number]

    def _view(self, number: int) -> Rows:
        if self._shown is None or self._shown[0] != number:
            self._shown = None  # frees the memory of the last view
            self._shown = number, place(view(self.images, self.recipe, number), self.device)
        return self._shown[1]


def _answers(teacher: Artifact, shown: Tensor) -> Tensor:
    """Return the logits of a teacher for pictures, float32 N x C."""
    images = shown.numpy()

    def ask() -> Iterator[npt.NDArray[np.float32]]:
        runtime = Runtime.open(teacher)
        for start in track(range(0, len(images), CHUNK), f"asking {teacher.name}"):
            yield runtime.run(images[start : start + CHUNK], ["logits"])["logits"]

    return kept_answers(teacher, images, ask)
