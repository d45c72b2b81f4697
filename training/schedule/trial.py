"""A short timed trial, from which the time of an epoch follows."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from artifacts import VitrineError
from training.batch_size import LARGEST
from training.data import Splits, load_splits
from training.faces.sampling import epoch_batches
from training.inputs import normalise
from training.loop import fit
from training.networks import Classifier
from training.recipe import Recipe
from training.run import initial_network, make_accelerator

BATCHES = 8
"""Batches of an epoch of the trial."""
VALIDATION = 256
"""Maximum number of validation pictures in the trial."""


def epoch_seconds(recipe: Recipe) -> float | None:
    """Train on a few batches; returns the time of a whole epoch with validation, seconds.

    Every epoch that is timed follows one that is not, which allocates memory. An epoch with small
    pictures (`augment.early`) and one with others count as often as in the recipe.

    Returns:
        The time, without that of layers that are computed once; None if nothing can be timed: the
        recipe fits a support-vector machine, or its trial fails.
    """
    if recipe.svm is not None:
        return None
    early = recipe.augment.early if recipe.augment.early_side else 0.0
    shares = {1: early, 3: 1 - early} if early else {1: 1.0}
    epochs = 2 * len(shares)
    tried = replace(recipe, name=f"trial-of-{recipe.name}", epochs=epochs)
    if early:
        tried = replace(tried, augment=replace(recipe.augment, early=0.5))
    try:
        accelerator = make_accelerator(recipe)
        splits = load_splits(recipe.data, recipe.seed)
        some = few(splits, recipe)
        network = initial_network(tried, some)
        lessons = _with_silent_teacher(some, network, recipe)
        with tempfile.TemporaryDirectory() as folder:
            _, history = fit(network, lessons, tried, Path(folder), accelerator)
    except VitrineError:
        return None
    whole = splits.train.labels.repeat(1 + recipe.loss.morphs)  # with the mixtures of a teacher
    more = _batches(whole, recipe) / _batches(some.train.labels, recipe)
    again = len(splits.validation) / len(some.validation)
    return sum(
        share * (history[row].train_seconds * more + history[row].validation_seconds * again)
        for row, share in shares.items()
    )


def few(splits: Splits, recipe: Recipe) -> Splits:
    """Return random pictures that suffice for `BATCHES` batches, and some to validate."""
    generator = torch.Generator().manual_seed(recipe.seed)
    size = recipe.batch_size or LARGEST
    train = torch.randperm(len(splits.train), generator=generator)[: BATCHES * size]
    validation = torch.randperm(len(splits.validation), generator=generator)[:VALIDATION]
    # what is computed of these pictures must not be taken for that of all
    name = f"{splits.source.fingerprint} trial {len(train)} {len(validation)} {recipe.seed}"
    source = replace(splits.source, fingerprint=hashlib.sha256(name.encode()).hexdigest())
    return Splits(splits.train.take(train), splits.validation.take(validation), source)


def _with_silent_teacher(splits: Splits, network: Classifier, recipe: Recipe) -> Splits:
    """Return splits whose teacher, if the recipe has one, answers zeros to every picture.

    The time of an epoch does not depend on what it answers. Its answers are as wide as those of the
    student: embeddings, or logits for each view.
    """
    if not recipe.loss.teacher:
        return splits
    with torch.no_grad():
        (answer,) = network.eval()(normalise(splits.train.images[:1], recipe))  # (D,)
    views, train = recipe.loss.views, splits.train
    if views:
        taught = answer.new_zeros(views, len(train), len(answer))
        return replace(splits, train=replace(train, taught=taught))
    return replace(splits, train=replace(train, labels=answer.new_zeros(len(train), len(answer))))


def _batches(labels: torch.Tensor, recipe: Recipe) -> int:
    size = recipe.batch_size or LARGEST
    return len(epoch_batches(labels, size, recipe.loss, seed=recipe.seed, epoch=0))
