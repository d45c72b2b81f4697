"""Measures embeddings on people not seen in training, after each epoch and after training."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from artifacts import DataError, Runtime
from artifacts.pictures import Picture
from artifacts.verification.curves import curve
from artifacts.verification.decision import Threshold, Verification
from artifacts.verification.error_rates import MIN_FALSE_MATCHES, choose, report
from artifacts.verification.pairs import Ints, Measured, all_pairs
from training.data import Splits
from training.faces.sampling import with_partners
from training.faces.thresholds import TARGETS, embed, load_people
from training.inputs import Source
from training.losses import objective
from training.recipe import Recipe
from training.settings import Loss

METRIC = "euclidean"
"""The distance used in training; for unit vectors it orders pairs as the cosine does."""
log = logging.getLogger(__name__)


def pair_accuracy(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - equal error rate over all pairs of embeddings.

    Args:
        embeddings: float N x D; distances are Euclidean.
        labels: int64 N, number of the person.

    Returns:
        A scalar; NaN if no person has two pictures or all pictures show one person.
    """
    people = labels.cpu().numpy().astype(np.int64)
    measured = all_pairs(embeddings.float().cpu().numpy(), people, "batch", METRIC)
    if measured.same.all() or not measured.same.any():
        return torch.tensor(float("nan"))
    return torch.tensor(1 - curve(measured).eer)


@torch.inference_mode()
def validate(
    model: nn.Module, source: Source, recipe: Recipe, accelerator: Accelerator
) -> tuple[float, float]:
    """Return the loss and `pair_accuracy` on validation people, without augmentation.

    The loss is that of the recipe over pairs or triplets drawn with the seed, the same in every
    epoch. For recipes that draw none (arcface, mining) it is the contrastive loss with margin 1,
    so that they can be compared.

    Args:
        model: Maps normalised pictures N x 3 x H x W to embeddings N x D.
        source: The validation pictures.
        recipe: The settings.
        accelerator: Device and precision; every process validates on all pictures.
    """
    model.eval()
    found = []
    for indices in torch.split(torch.arange(len(source.labels)), source.batch_size):
        with accelerator.autocast():
            found.append(model(*source.plain(indices)).float().cpu())
    embeddings = torch.cat(found)
    settings = recipe.loss if recipe.loss.partners else Loss("contrastive")
    generator = torch.Generator().manual_seed(recipe.seed)
    drawn = with_partners(source.labels, settings.partners, generator).T.flatten()
    loss = objective(embeddings[drawn], source.labels[drawn], settings)
    return float(loss), float(pair_accuracy(embeddings, source.labels))


def measure_embedding(recipe: Recipe, splits: Splits, runtime: Runtime) -> dict[str, Any]:
    """Measure a trained embedding; returns the manifest's thresholds and metrics.

    Thresholds are chosen on the validation people, for the targets for which these make enough
    pairs, and which the distances can keep to. They are measured on the test people and on the
    collections that the recipe names.
    """

    def distances_of(images: Sequence[Picture] | Picture, people: Ints, source: str) -> Measured:
        vectors, found = embed(runtime, images, aligned=not recipe.data.align)
        missed = len(images) - len(found)
        return all_pairs(vectors, people[found], source, METRIC, missed)

    name, validation = recipe.data.name, splits.validation
    labels = validation.labels.numpy()
    chosen_on = distances_of(validation.originals, labels, f"{name}:validation")
    thresholds = _thresholds(chosen_on, recipe.seed)
    metrics = report(chosen_on, thresholds, recipe.seed)
    for others in (f"{name}:test", *(f"{each}:all" for each in recipe.evaluation.people)):
        try:
            images, people = load_people(others)
        except DataError as error:
            if others.startswith(name):
                raise
            log.warning("not measured on %s: %s", others, error)
            continue
        metrics += report(distances_of(images, people, others), thresholds, recipe.seed)
    verification = Verification(metric=METRIC, thresholds=thresholds, pairs=chosen_on.pairs)
    return {"verification": verification, "metrics": tuple(metrics)}


def _thresholds(measured: Measured, seed: int) -> tuple[Threshold, ...]:
    """Choose a threshold for each of the targets that allow one, and log which do not.

    A network that gives many people one embedding is published all the same: its figures say so.
    """
    found: tuple[Threshold, ...] = ()
    for target in sorted(t for t in TARGETS if t * measured.pairs.different >= MIN_FALSE_MATCHES):
        try:
            found += choose(measured, [target], seed)
        except DataError as error:
            log.warning("the model gets one threshold fewer: %s", error)
    return found
