"""The training loop. It saves checkpoints, and resuming from one does not change the result."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MultilabelAveragePrecision

from artifacts.progress import Progress
from training.checkpoint import (
    Checkpoints,
    Partway,
    State,
    random_states,
    restore_random_states,
    restore_sums,
    sums_of,
)
from training.data import Splits
from training.depthwise import FastDepthwise
from training.faces.evaluate import pair_accuracy, validate
from training.faces.sampling import epoch_batches
from training.frozen_prefix.cache import frozen_sources
from training.frozen_prefix.cut import cut
from training.history import DivergedError, Epoch
from training.inputs import Pictures, Source
from training.losses import objective
from training.networks import Classifier, parameter_counts
from training.optim import make_optimizer, rate_factor, set_rate
from training.processes import check_alike, first_file
from training.recipe import Recipe
from training.status import code_hash

CHECKPOINT = "checkpoint.pt"
"""File of the checkpoint in the folder of a run."""
SAY_SECONDS = 1.0
"""Minimum time between two updates of the progress."""


def fit(
    model: Classifier, splits: Splits, recipe: Recipe, folder: Path, accelerator: Accelerator
) -> tuple[Classifier, list[Epoch]]:
    """Train a network by a recipe, continuing where an interrupted run stopped.

    A checkpoint of another recipe, network code or data set is ignored and overwritten.

    Args:
        model: Maps normalised pictures N x 3 x H x W to logits N x C, or to the outputs that the
            loss of embeddings takes.
        splits: Training and validation pictures.
        recipe: The settings.
        folder: Folder of the checkpoint.
        accelerator: Device, precision and processes.

    Returns:
        The network to export, on the CPU, and one row per epoch.

    Raises:
        DivergedError: A loss is NaN or infinite.
        RecipeError: The recipe asks for a cache, which the network or an augmentation rules out;
            or the processes differ in recipe, code or data.
        DataError: The cache needs more space than it may use.
    """
    data, code = splits.source.fingerprint, code_hash(recipe.network)
    check_alike(recipe.artifact_name, {"recipe": recipe.hash, "code": code, "data": data})
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, recipe.optimizer)
    state = State(model, optimizer, _average(model, recipe), accelerator.scaler)
    key = f"{recipe.hash} {code} {data}"
    first, alone = accelerator.is_main_process, accelerator.num_processes == 1
    path = folder / CHECKPOINT
    checkpoints = Checkpoints(path, key, state, writes=first, within=alone)
    report = Progress(recipe.artifact_name, shown=first)
    with first_file(path, accelerator) as source:
        if state.load(source, key, report):
            report.log(f"{recipe.artifact_name}: continuing after {_place(state)}")
    report.start = len(state.history) / recipe.epochs
    feed = _feed(state, splits, recipe, accelerator)
    wrapped, state.optimizer = accelerator.prepare(feed.model, optimizer)
    with report:
        for epoch in range(len(state.history), recipe.epochs):
            row = _epoch(wrapped, state, feed, recipe, epoch, accelerator, checkpoints, report)
            if not math.isfinite(row.train_loss + row.validation_loss):
                total, _ = parameter_counts(model)
                raise DivergedError(recipe.artifact_name, row.epoch, total)
            state.history.append(row)
            checkpoints.save()
            report.log(_log_line(row, recipe))
    accelerator.wait_for_everyone()
    return state.result.cpu().eval(), state.history


@dataclass(frozen=True)
class Feed:
    """The module that is trained and its inputs.

    Either the whole network takes pictures, or its suffix takes cached outputs of its prefix.
    """

    model: nn.Module
    result: nn.Module
    """The module to validate; see `State.result`."""
    train: Source
    validation: Source


def _feed(state: State, splits: Splits, recipe: Recipe, accelerator: Accelerator) -> Feed:
    train, validation = (
        Pictures(split, recipe, accelerator.device) for split in (splits.train, splits.validation)
    )
    if recipe.loss.embeds:
        return Feed(state.model, state.result.trunk, train, validation)
    if recipe.cache == "none":
        return Feed(state.model, state.result, train, validation)
    images = validation.plain(torch.arange(2))[0]
    prefix, model = cut(state.model, images)
    result = model if state.average is None else cut(state.result, images)[1]
    return Feed(model, result, *frozen_sources(prefix, splits, recipe, accelerator))


def _epoch(
    model: nn.Module,
    state: State,
    feed: Feed,
    recipe: Recipe,
    epoch: int,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    report: Progress,
) -> Epoch:
    with checkpoints.deferring_signals():
        train_loss, train_accuracy, seconds = _train(
            model, state, feed.train, recipe, epoch, accelerator, checkpoints, report
        )
    middle = time.perf_counter()
    report.update((epoch + 1) / recipe.epochs, f"epoch {epoch + 1}/{recipe.epochs}, validating")
    if recipe.loss.embeds:
        loss, accuracy = validate(feed.result, feed.validation, recipe, accelerator)
    else:
        loss, accuracy = _validate(feed.result, feed.validation, recipe, accelerator)
    return Epoch(
        epoch=epoch + 1,
        rate=state.optimizer.param_groups[0]["lr"],
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        validation_loss=loss,
        validation_accuracy=accuracy,
        train_seconds=seconds,
        validation_seconds=time.perf_counter() - middle,
    )


def _train(
    model: nn.Module,
    state: State,
    source: Source,
    recipe: Recipe,
    epoch: int,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    report: Progress,
) -> tuple[float, float, float]:
    """Train for one epoch, or for the rest of it that `state.partway` leaves.

    Random numbers depend on (seed, epoch, process) only.

    Returns:
        Mean loss and accuracy on the augmented batches, and the time in seconds.
    """
    settings = recipe.optimizer
    rank, world = accelerator.process_index, accelerator.num_processes
    seed = (recipe.seed * 100_003 + epoch) * world + rank
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)
    batches = epoch_batches(
        source.labels,
        recipe.batch_size,
        recipe.loss,
        seed=recipe.seed,
        epoch=epoch,
        rank=rank,
        world=world,
    )
    means = loss_mean, accuracy_mean = _means(accelerator, source.labels)
    start, first = time.perf_counter(), 0
    if state.partway is not None:
        first, start = state.partway.batches, start - state.partway.seconds
        report.start = (epoch + first / len(batches)) / recipe.epochs
        generator.set_state(state.partway.augmentation)
        restore_random_states(state.partway.random)
        restore_sums(means, state.partway.sums)
        state.partway = None
    model.train()
    said = -math.inf
    for step, indices in enumerate(batches[first:], first):
        done = (step + 1) / len(batches)
        factor = rate_factor(settings, epoch + done, recipe.epochs)
        set_rate(state.optimizer, settings.lr * factor)
        inputs, targets = source.training(indices, generator, epoch)
        with accelerator.autocast(), FastDepthwise():
            outputs = model(*inputs)
        loss = objective(outputs.float(), targets, recipe.loss)
        accelerator.backward(loss)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if state.average is not None:
            state.average.update_parameters(state.model)
        loss_mean.update(loss.detach(), len(indices))
        _update(accuracy_mean, outputs.detach(), source.labels[indices], recipe)
        if time.monotonic() - said > SAY_SECONDS:  # reading the loss makes a GPU wait
            said = time.monotonic()
            report.update((epoch + done) / recipe.epochs, _note(epoch, recipe, loss_mean))
        if step + 1 < len(batches) and checkpoints.due:
            state.partway = Partway(
                batches=step + 1,
                seconds=time.perf_counter() - start,
                augmentation=generator.get_state(),
                random=random_states(),
                sums=sums_of(means),
            )
            checkpoints.save()
            state.partway = None
    seconds = time.perf_counter() - start
    return float(loss_mean.compute()), float(accuracy_mean.compute()), seconds


def _note(epoch: int, recipe: Recipe, loss: MeanMetric) -> str:
    """Describe the state within an epoch, with the mean loss of its batches in this process."""
    mean = float(loss.mean_value) / float(loss.weight)
    return f"epoch {epoch + 1}/{recipe.epochs}, loss {mean:.4f}"


def _place(state: State) -> str:
    """Describe where a checkpoint was written."""
    place = f"epoch {len(state.history)}"
    return f"{place} and {state.partway.batches} batches of the next" if state.partway else place


@torch.inference_mode()
def _validate(
    model: nn.Module, source: Source, recipe: Recipe, accelerator: Accelerator
) -> tuple[float, float]:
    """Return loss and accuracy on unaugmented pictures, prepared as in serving; see `Epoch`."""
    loss_mean, accuracy_mean = _means(accelerator, source.labels)
    objective = _binary_cross_entropy if source.labels.ndim > 1 else F.cross_entropy
    model.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    own = torch.arange(rank, len(source.labels), world)
    for indices in torch.split(own, source.batch_size):
        labels = source.labels[indices].to(accelerator.device)
        with accelerator.autocast():
            logits = model(*source.plain(indices))
        loss_mean.update(objective(logits.float(), labels), len(labels))
        _update(accuracy_mean, logits, labels, recipe)
    return float(loss_mean.compute()), float(accuracy_mean.compute())


def _binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def _update(metric: Metric, outputs: Tensor, labels: Tensor, recipe: Recipe) -> None:
    """Add a batch to the mean of the accuracies, or to the mean average precision for bce."""
    if recipe.loss.task == "multi-label":
        scores = outputs.mean(1) if outputs.ndim == 3 else outputs  # noqa: PLR2004
        # in single precision, the sigmoids of two large logits may be equal
        metric.update(scores.double().sigmoid(), labels.to(scores.device))
        return
    pairwise = recipe.loss.name in ("contrastive", "triplet")
    metric.update((pair_accuracy if pairwise else _correct)(outputs, labels))


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return float N: 1 where the top class is right, else 0; K heads (N x K x C) are averaged."""
    scores = logits.mean(1) if logits.ndim == 3 else logits  # noqa: PLR2004
    return (scores.argmax(1) == labels.to(scores.device)).float()


def _average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    if not recipe.optimizer.ema:
        return None
    average = get_ema_multi_avg_fn(recipe.optimizer.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _means(accelerator: Accelerator, labels: Tensor) -> tuple[MeanMetric, Metric]:
    """Return the mean of the losses, and what `_update` updates."""
    loss = MeanMetric(nan_strategy="disable")
    accuracy: Metric = MeanMetric(nan_strategy="disable")
    if labels.ndim > 1:
        accuracy = MultilabelAveragePrecision(labels.shape[1])
    return loss.to(accelerator.device), accuracy.to(accelerator.device)


def _log_line(row: Epoch, recipe: Recipe) -> str:
    score = recipe.loss.score_name
    return (
        f"{recipe.artifact_name} {row.epoch}/{recipe.epochs}  "
        f"train loss {row.train_loss:.4f} {score} {row.train_accuracy:.4f}  "
        f"validation loss {row.validation_loss:.4f} {score} {row.validation_accuracy:.4f}  "
        f"{row.train_seconds:.1f}+{row.validation_seconds:.1f} s"
    )
