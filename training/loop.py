"""The training loop. It saves a checkpoint each epoch; resuming does not change the result."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import MeanMetric

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
from training.recipe import Recipe
from training.status import code_hash


@dataclass
class State:
    """Everything that changes during training, which is what a checkpoint holds."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler | None = None
    """Scales the loss in fp16; otherwise None."""
    history: list[Epoch] = field(default_factory=list)

    @property
    def result(self) -> Classifier:
        """The network to validate and export: with averaged weights if the recipe averages them."""
        return cast("Classifier", self.average.module) if self.average else self.model

    def save(self, path: Path, key: str) -> None:
        """Write a checkpoint atomically; `key` identifies the run that may continue from it."""
        content = {
            "key": key,
            "model": _trainable_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "average": _trainable_state(self.average) if self.average is not None else None,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "history": [asdict(epoch) for epoch in self.history],
        }
        partial = path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(path)

    def load(self, path: Path, key: str) -> bool:
        """Load a checkpoint; returns False if there is none with the same `key`."""
        if not path.exists():
            return False
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if content["key"] != key:
            return False
        self.model.load_state_dict(content["model"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(content["average"], strict=False)
        if self.scaler is not None:
            self.scaler.load_state_dict(content["scaler"])
        self.history = [Epoch(**row) for row in content["history"]]
        return True


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
        RecipeError: The recipe asks for a cache, which the network or an augmentation rules out.
        DataError: The cache needs more space than it may use.
    """
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, recipe.optimizer)
    state = State(model, optimizer, _average(model, recipe), accelerator.scaler)
    checkpoint = folder / "checkpoint.pt"
    key = f"{recipe.hash} {code_hash(recipe.network)} {splits.source.fingerprint}"
    resumed = state.load(checkpoint, key)
    feed = _feed(state, splits, recipe, accelerator)
    wrapped, state.optimizer = accelerator.prepare(feed.model, optimizer)
    with Progress(transient=True, disable=not accelerator.is_main_process) as progress:
        if resumed:
            done = len(state.history)
            progress.console.print(f"{recipe.artifact_name}: continuing after epoch {done}")
        task = progress.add_task(recipe.artifact_name, total=recipe.epochs)
        for epoch in range(len(state.history), recipe.epochs):

            def report_progress(share: float, epoch: int = epoch) -> None:
                progress.update(task, completed=epoch + share)

            row = _epoch(wrapped, state, feed, recipe, epoch, accelerator, report_progress)
            if not math.isfinite(row.train_loss + row.validation_loss):
                total, _ = parameter_counts(model)
                raise DivergedError(recipe.artifact_name, row.epoch, total)
            state.history.append(row)
            if accelerator.is_main_process:
                state.save(checkpoint, key)
            progress.console.print(_log_line(row, recipe), highlight=False, soft_wrap=True)
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
    report_progress: Callable[[float], None],
) -> Epoch:
    start = time.perf_counter()
    train_loss, train_accuracy = _train(
        model, state, feed.train, recipe, epoch, accelerator, report_progress
    )
    middle = time.perf_counter()
    if recipe.loss.embeds:
        loss, accuracy = validate(feed.result, feed.validation, recipe, accelerator)
    else:
        loss, accuracy = _validate(feed.result, feed.validation, accelerator)
    return Epoch(
        epoch=epoch + 1,
        rate=state.optimizer.param_groups[0]["lr"],
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        validation_loss=loss,
        validation_accuracy=accuracy,
        train_seconds=middle - start,
        validation_seconds=time.perf_counter() - middle,
    )


def _train(
    model: nn.Module,
    state: State,
    source: Source,
    recipe: Recipe,
    epoch: int,
    accelerator: Accelerator,
    report_progress: Callable[[float], None],
) -> tuple[float, float]:
    """Train for one epoch; random numbers depend on (seed, epoch, process) only.

    Returns:
        Mean loss and accuracy on the augmented batches.
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
    loss_mean, accuracy_mean = _means(accelerator)
    model.train()
    for step, indices in enumerate(batches):
        done = (step + 1) / len(batches)
        report_progress(done)
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
        pairwise = recipe.loss.name in ("contrastive", "triplet")
        score = pair_accuracy if pairwise else _correct
        accuracy_mean.update(score(outputs.detach(), source.labels[indices]))
    return float(loss_mean.compute()), float(accuracy_mean.compute())


@torch.inference_mode()
def _validate(model: nn.Module, source: Source, accelerator: Accelerator) -> tuple[float, float]:
    """Return cross-entropy and accuracy on unaugmented pictures, prepared as in serving."""
    loss_mean, accuracy_mean = _means(accelerator)
    model.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    own = torch.arange(rank, len(source.labels), world)
    for indices in torch.split(own, source.batch_size):
        labels = source.labels[indices].to(accelerator.device)
        with accelerator.autocast():
            logits = model(*source.plain(indices))
        loss_mean.update(F.cross_entropy(logits.float(), labels), len(labels))
        accuracy_mean.update(_correct(logits, labels))
    return float(loss_mean.compute()), float(accuracy_mean.compute())


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return float N: 1 where the top class is right, else 0; K heads (N x K x C) are averaged."""
    scores = logits.mean(1) if logits.ndim == 3 else logits  # noqa: PLR2004
    return (scores.argmax(1) == labels.to(scores.device)).float()


def _trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return trainable weights and buffers; frozen weights are loaded again before resuming."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {key: value for key, value in model.state_dict().items() if key not in frozen}


def _average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    if not recipe.optimizer.ema:
        return None
    average = get_ema_multi_avg_fn(recipe.optimizer.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _means(accelerator: Accelerator) -> tuple[MeanMetric, MeanMetric]:
    loss, accuracy = MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable")
    return loss.to(accelerator.device), accuracy.to(accelerator.device)


def _log_line(row: Epoch, recipe: Recipe) -> str:
    return (
        f"{recipe.artifact_name} {row.epoch}/{recipe.epochs}  "
        f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}  "
        f"validation loss {row.validation_loss:.4f} accuracy {row.validation_accuracy:.4f}  "
        f"{row.train_seconds:.1f}+{row.validation_seconds:.1f} s"
    )
