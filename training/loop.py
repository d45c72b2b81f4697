"""The training loop: one plain loop, a checkpoint each epoch, the same result after any restart."""

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
from training.faces.evaluate import separation, validate
from training.faces.sampling import epoch_batches
from training.frozen_prefix.cache import frozen_sources
from training.frozen_prefix.cut import cut
from training.history import DivergedError, Epoch
from training.inputs import Pictures, Source
from training.losses import objective
from training.networks import Classifier, code_hash, parameter_counts
from training.optim import make_optimizer, rate_factor, set_rate
from training.recipe import Recipe


@dataclass
class State:
    """All that moves during training, and nothing else: what a checkpoint holds."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler | None = None
    """Of the loss, in fp16."""
    history: list[Epoch] = field(default_factory=list)

    @property
    def result(self) -> Classifier:
        """The weights to validate and export: averaged ones where the recipe averages."""
        return cast("Classifier", self.average.module) if self.average else self.model

    def save(self, path: Path, key: str) -> None:
        """Write a checkpoint whole or not at all; `key` says what it continues."""
        content = {
            "key": key,
            "model": _moving(self.model),
            "optimizer": self.optimizer.state_dict(),
            "average": _moving(self.average) if self.average is not None else None,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "history": [asdict(epoch) for epoch in self.history],
        }
        partial = path.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(path)

    def load(self, path: Path, key: str) -> bool:
        """Continue from a checkpoint; False where there is none of the same `key`."""
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
    """Train a network as the recipe says, continuing where an interrupted run stopped.

    A checkpoint of another recipe, network code or data is not continued but written over.

    Args:
        model: N x 3 x H x W, normalised -> logits N x C, or what the loss of embeddings takes.
        splits: training and validation pictures.
        recipe: settings.
        folder: where the checkpoint lies.
        accelerator: device, precision and processes.

    Returns:
        The network to export, on the CPU, and one row per epoch.

    Raises:
        DivergedError: a loss is NaN or infinite.
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

            def tick(share: float, epoch: int = epoch) -> None:
                progress.update(task, completed=epoch + share)

            row = _epoch(wrapped, state, feed, recipe, epoch, accelerator, tick)
            if not math.isfinite(row.train_loss + row.validation_loss):
                total, _ = parameter_counts(model)
                raise DivergedError(recipe.artifact_name, row.epoch, total)
            state.history.append(row)
            if accelerator.is_main_process:
                state.save(checkpoint, key)
            progress.console.print(_line(row, recipe), highlight=False, soft_wrap=True)
    accelerator.wait_for_everyone()
    return state.result.cpu().eval(), state.history


@dataclass(frozen=True)
class Feed:
    """Who learns from what: the network from pictures, or its suffix from what its prefix gave."""

    model: nn.Module
    result: nn.Module
    """What is validated, as `State.result`."""
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
    tick: Callable[[float], None],
) -> Epoch:
    start = time.perf_counter()
    train_loss, train_accuracy = _train(model, state, feed.train, recipe, epoch, accelerator, tick)
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
    tick: Callable[[float], None],
) -> tuple[float, float]:
    """One pass over the training split; chance depends on (seed, epoch, process) alone."""
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
    loss_mean, hit_mean = _means(accelerator)
    model.train()
    for step, indices in enumerate(batches):
        done = (step + 1) / len(batches)
        tick(done)
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
        score = separation if pairwise else _hits
        hit_mean.update(score(outputs.detach(), source.labels[indices]))
    return float(loss_mean.compute()), float(hit_mean.compute())


@torch.inference_mode()
def _validate(model: nn.Module, source: Source, accelerator: Accelerator) -> tuple[float, float]:
    """Cross-entropy and accuracy on pictures as they are served."""
    loss_mean, hit_mean = _means(accelerator)
    model.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = torch.arange(rank, len(source.labels), world)
    for indices in torch.split(mine, source.batch_size):
        labels = source.labels[indices].to(accelerator.device)
        with accelerator.autocast():
            logits = model(*source.plain(indices))
        loss_mean.update(F.cross_entropy(logits.float(), labels), len(labels))
        hit_mean.update(_hits(logits, labels))
    return float(loss_mean.compute()), float(hit_mean.compute())


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where the likeliest class is right, else 0; of several heads (N x K x C), their mean's."""
    scores = logits.mean(1) if logits.ndim == 3 else logits  # noqa: PLR2004
    return (scores.argmax(1) == labels.to(scores.device)).float()


def _moving(model: nn.Module) -> dict[str, Tensor]:
    """Weights that train, and buffers: frozen weights are made anew before a run continues."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {key: value for key, value in model.state_dict().items() if key not in frozen}


def _average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    if not recipe.optimizer.ema:
        return None
    average = get_ema_multi_avg_fn(recipe.optimizer.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _means(accelerator: Accelerator) -> tuple[MeanMetric, MeanMetric]:
    loss, hits = MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable")
    return loss.to(accelerator.device), hits.to(accelerator.device)


def _line(row: Epoch, recipe: Recipe) -> str:
    return (
        f"{recipe.artifact_name} {row.epoch}/{recipe.epochs}  "
        f"train loss {row.train_loss:.4f} accuracy {row.train_accuracy:.4f}  "
        f"validation loss {row.validation_loss:.4f} accuracy {row.validation_accuracy:.4f}  "
        f"{row.train_seconds:.1f}+{row.validation_seconds:.1f} s"
    )
