"""How well embeddings tell people apart that training never showed: each epoch, and at the end."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from artifacts import DataError, Runtime
from artifacts.runtime import Picture
from artifacts.verification.curves import curve
from artifacts.verification.decision import Verification
from artifacts.verification.error_rates import MIN_FALSE_MATCHES, choose, report
from artifacts.verification.pairs import Ints, Measured, all_pairs
from training.data import Splits
from training.faces.sampling import with_partners
from training.faces.thresholds import TARGETS, embed, everybody
from training.inputs import Source
from training.losses import objective
from training.recipe import Recipe
from training.settings import Loss

METRIC = "euclidean"
"""Distance that embeddings are trained by; of unit vectors it orders pairs as cosine does."""
log = logging.getLogger(__name__)


def separation(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Share of pairs judged rightly at the threshold of equal errors: 1 - EER over all pairs.

    Args:
        embeddings: float N x D; distances are Euclidean.
        labels: int64 N.

    Returns:
        A scalar; NaN where there are no two pictures of one person, or no two people.
    """
    people = labels.numpy().astype(np.int64)
    measured = all_pairs(embeddings.float().cpu().numpy(), people, "batch", METRIC)
    if measured.same.all() or not measured.same.any():
        return torch.tensor(float("nan"))
    return torch.tensor(1 - curve(measured).eer)


@torch.inference_mode()
def validate(
    model: nn.Module, source: Source, recipe: Recipe, accelerator: Accelerator
) -> tuple[float, float]:
    """Loss and `separation` on the pictures of validation people, as they are served.

    The loss is the recipe's over pairs or triplets drawn once by the seed. Where training draws
    none (arcface, mining) it is the contrastive one of margin 1, so that it can be compared.

    Args:
        model: N x 3 x H x W, normalised -> embeddings N x D.
        source: the pictures.
        recipe: settings.
        accelerator: device and precision; every process validates on all pictures.
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
    return float(loss), float(separation(embeddings, source.labels))


def measured_embedding(recipe: Recipe, splits: Splits, runtime: Runtime) -> dict[str, Any]:
    """Fields of the manifest of a network just trained: thresholds, and metrics on other people.

    Thresholds are chosen on the validation people, as far as they make pairs enough, and measured
    on the people of the test split and of the collections that the recipe names.
    """

    def distances_of(images: Sequence[Picture] | Picture, people: Ints, source: str) -> Measured:
        vectors, found = embed(runtime, images, aligned=not recipe.data.align)
        missed = len(images) - len(found)
        return all_pairs(vectors, people[found], source, METRIC, missed)

    name, validation = recipe.data.name, splits.validation
    labels = validation.labels.numpy()
    chosen_on = distances_of(validation.originals, labels, f"{name}:validation")
    targets = [t for t in TARGETS if t * chosen_on.pairs.different >= MIN_FALSE_MATCHES]
    thresholds = choose(chosen_on, targets, recipe.seed)
    metrics = report(chosen_on, thresholds, recipe.seed)
    for others in (f"{name}:test", *(f"{each}:all" for each in recipe.evaluation.people)):
        try:
            images, people = everybody(others)
        except DataError as error:
            if others.startswith(name):
                raise
            log.warning("not measured on %s: %s", others, error)
            continue
        metrics += report(distances_of(images, people, others), thresholds, recipe.seed)
    verification = Verification(metric=METRIC, thresholds=thresholds, pairs=chosen_on.pairs)
    return {"verification": verification, "metrics": tuple(metrics)}
