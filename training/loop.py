"""The training loop. It saves checkpoints, and resuming from one does not change the result."""

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from training.averaging import Average
from training.batch_size import find_batch_size, with_batch_size
from training.checkpoint import (
    Checkpoints,
    Partway,
    State,
    random_states,
    restore_random_states,
)
from training.compiling import Compiled
from training.data import Splits
from training.depthwise import fast_depthwise
from training.faces.evaluate import validate
from training.faces.sampling import epoch_batches
from training.frozen_prefix.cache import frozen_sources
from training.frozen_prefix.cut import cut
from training.history import DivergedError, Epoch
from training.inputs import Inputs, Pictures, Source, share_done, training_sizes
from training.losses import objective
from training.mixing import Mixtures
from training.networks import Classifier, parameter_counts
from training.optim import make_optimizer, rate_factor, set_rate
from training.processes import check_alike, first_file
from training.recipe import Recipe
from training.recipe_settings import AUTO
from training.run_state import CHECKPOINT, RunProgress, RunState
from training.running import Running, binary_cross_entropy
from training.status import code_hash
from training.views import Lessons

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
    average = Average(model, recipe.optimizer.ema) if recipe.optimizer.ema else None
    state = State(model, optimizer, average, accelerator.scaler)
    key = f"{recipe.hash} {code} {data}"
    first, alone = accelerator.is_main_process, accelerator.num_processes == 1
    height, width = splits.train.images.shape[1:3]
    path = folder / CHECKPOINT
    checkpoints = Checkpoints(path, key, state, writes=first, within=alone)
    about = RunState(recipe.artifact_name, recipe.epochs, recipe.loss.score_name)
    share = partial(share_done, recipe=recipe, height=height, width=width)
    report = RunProgress(folder, about, share, first=first)
    with first_file(path, accelerator) as source:
        if state.load(source, key, report):
            report.log(f"{recipe.artifact_name}: continuing after {_place(state)}")
    report.start = report.share(len(state.history))
    feed = _feed(state, splits, recipe, accelerator)
    if recipe.batch_size == AUTO:
        if not state.batch_size:
            state.batch_size = find_batch_size(feed.model, feed.train, recipe, accelerator)
        recipe = with_batch_size(recipe, state.batch_size)
        report.log(
            f"{recipe.artifact_name}: batches of {recipe.batch_size} pictures, with a learning "
            f"rate of {recipe.optimizer.lr:.3g}"
        )
    wrapped, state.optimizer = accelerator.prepare(feed.model, optimizer)
    sizes = 1 if recipe.cache != "none" else len(training_sizes(recipe, height, width))
    network = Compiled(wrapped, sizes, accelerator, report)
    with report:
        about.history = state.history
        for epoch in range(len(state.history), recipe.epochs):
            row = _epoch(network, state, feed, recipe, epoch, accelerator, checkpoints, report)
            if not math.isfinite(row.train_loss + row.validation_loss):
                total, _ = parameter_counts(model)
                raise DivergedError(recipe.artifact_name, row.epoch, total)
            state.history.append(row)
            report.write(report.share(row.epoch))
            accelerator.log(asdict(row), step=row.epoch)
            checkpoints.save()
            done, before = report.share(row.epoch), report.share(row.epoch - 1)
            network.decide((1 - done) / (done - before) * row.train_seconds)
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
    train = _training_source(splits, recipe, accelerator.device)
    validation = Pictures(splits.validation, recipe, accelerator.device)
    if recipe.loss.embeds:
        return Feed(state.model, state.result.trunk, train, validation)
    if recipe.cache == "none":
        return Feed(state.model, state.result, train, validation)
    images = validation.plain(torch.arange(2))[0]
    prefix, model = cut(state.model, images)
    result = model if state.average is None else cut(state.result, images)[1]
    return Feed(model, result, *frozen_sources(prefix, splits, recipe, accelerator))


def _training_source(splits: Splits, recipe: Recipe, device: torch.device) -> Pictures:
    if splits.train.taught is not None:
        return Lessons(splits.train, recipe, device)
    if recipe.augment.mixes:
        return Mixtures(splits.train, recipe, device, len(splits.classes))
    return Pictures(splits.train, recipe, device)


def _epoch(
    network: Compiled,
    state: State,
    feed: Feed,
    recipe: Recipe,
    epoch: int,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    report: RunProgress,
) -> Epoch:
    with checkpoints.deferring_signals():
        train_loss, train_accuracy, seconds = _train(
            network, state, feed.train, recipe, epoch, accelerator, checkpoints, report
        )
    middle = time.perf_counter()
    report.update(report.share(epoch + 1), f"epoch {epoch + 1}/{recipe.epochs}, validating")
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
    network: Compiled,
    state: State,
    source: Source,
    recipe: Recipe,
    epoch: int,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    report: RunProgress,
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
    running = Running(source.labels, recipe.loss, accelerator.device)
    start, first = time.perf_counter(), 0
    if state.partway is not None:
        first, start = state.partway.batches, start - state.partway.seconds
        report.start = report.share(epoch + first / len(batches))
        generator.set_state(state.partway.augmentation)
        restore_random_states(state.partway.random)
        running.restore(state.partway.sums)
        state.partway = None
    network.model.train()
    source.announce(batches[first:])
    said = -math.inf
    for step, indices in enumerate(batches[first:], first):
        middle = (step + 0.5) / len(batches)  # so that no step has a rate of 0
        factor = rate_factor(settings, epoch + middle, recipe.epochs)
        set_rate(state.optimizer, settings.lr * factor)
        inputs, targets = source.training(indices, generator, epoch)
        running.update(*_gradients(network, inputs, targets, recipe, accelerator), targets)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if state.average is not None:
            state.average.update_parameters(state.model)
        if time.monotonic() - said > SAY_SECONDS:  # reading the loss makes a GPU wait
            said = time.monotonic()
            note = f"epoch {epoch + 1}/{recipe.epochs}, {running.note}"
            report.update(report.share(epoch + (step + 1) / len(batches)), note)
        if step + 1 < len(batches) and checkpoints.due:
            state.partway = Partway(
                batches=step + 1,
                seconds=time.perf_counter() - start,
                augmentation=generator.get_state(),
                random=random_states(),
                sums=running.sums(),
            )
            checkpoints.save()
            state.partway = None
    loss, accuracy = running.compute()  # a GPU has done its work when this returns
    return loss, accuracy, time.perf_counter() - start


def _gradients(
    network: Compiled, inputs: Inputs, targets: Tensor, recipe: Recipe, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of a batch; returns its loss and the outputs, without gradients."""

    def compute(model: nn.Module) -> tuple[Tensor, Tensor]:
        with accelerator.autocast(), fast_depthwise(accelerator.device):
            outputs = model(*inputs)
        loss = objective(outputs.float(), targets, recipe.loss)
        accelerator.backward(loss)
        return loss.detach(), outputs.detach()

    return network.run(compute)


def _place(state: State) -> str:
    """Describe where a checkpoint was written."""
    place = f"epoch {len(state.history)}"
    return f"{place} and {state.partway.batches} batches of the next" if state.partway else place


@torch.inference_mode()
def _validate(
    model: nn.Module, source: Source, recipe: Recipe, accelerator: Accelerator
) -> tuple[float, float]:
    """Return loss and accuracy on unaugmented pictures, prepared as in serving; see `Epoch`."""
    running = Running(source.labels, recipe.loss, accelerator.device)
    objective = binary_cross_entropy if source.labels.ndim > 1 else F.cross_entropy
    model.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    own = torch.arange(rank, len(source.labels), world)
    for indices in torch.split(own, source.batch_size):
        labels = source.labels[indices].to(accelerator.device)
        with accelerator.autocast():
            logits = model(*source.plain(indices))
        running.update(objective(logits.float(), labels), logits, labels)
    return running.compute()


def _log_line(row: Epoch, recipe: Recipe) -> str:
    score = recipe.loss.score_name
    return (
        f"{recipe.artifact_name} {row.epoch}/{recipe.epochs}  "
        f"train loss {row.train_loss:.4f} {score} {row.train_accuracy:.4f}  "
        f"validation loss {row.validation_loss:.4f} {score} {row.validation_accuracy:.4f}  "
        f"{row.train_seconds:.1f}+{row.validation_seconds:.1f} s"
    )
