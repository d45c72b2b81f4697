"""Checkpoints: what a run needs to continue, even in the middle of an epoch, with the same result.

The order of the batches depends on the seed and the epoch alone, so a checkpoint holds how many of
them are done, the state of the random numbers, and the sums of the running means.
"""

import contextlib
import os
import pickle
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import Metric

from artifacts.progress import Progress
from training.history import Epoch
from training.networks import Classifier

DEFAULT_SECONDS = 60.0
"""Time between two checkpoints within an epoch, if `VITRINE_CHECKPOINT_SECONDS` is not set."""

DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    NotImplementedError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What reading a damaged file may raise."""


@dataclass
class Partway:
    """The state of an epoch that is not finished."""

    batches: int
    """Number of batches that are done."""
    seconds: float
    """Time that they took."""
    augmentation: Tensor
    """State of the generator of augmentations."""
    random: list[Tensor]
    """States of torch's own generators, on the CPU and on each GPU, which dropout draws from."""
    sums: list[Tensor]
    """What the running metrics of loss and accuracy have added up; see `sums_of`."""


@dataclass
class State:
    """Everything that changes during training, which is what a checkpoint holds."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler | None = None
    """Scales the loss in fp16; otherwise None."""
    history: list[Epoch] = field(default_factory=list)
    partway: Partway | None = None
    """How far the epoch after `history` is; None at its beginning."""
    batch_size: int = 0
    """Pictures per batch if the recipe leaves that open, as the first start found it; else 0."""

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
            "partway": vars(self.partway) if self.partway is not None else None,
            "batch_size": self.batch_size,
        }
        write_content(path, content)

    def load(self, path: Path, key: str, report: Progress | None = None) -> bool:
        """Load a checkpoint; returns False if there is none with the same `key`.

        A damaged checkpoint counts as none, and is reported in one line.
        """
        if not path.exists():
            return False
        try:
            content = read_content(path)
            own = content["key"] == key
        except DAMAGE as error:
            if report is not None:
                reason = " ".join(str(error).split())[:100] or type(error).__name__
                report.log(f"{path} is damaged and is ignored; training starts anew ({reason})")
            return False
        if not own:
            return False
        self.model.load_state_dict(content["model"], strict=False)
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(content["average"], strict=False)
        if self.scaler is not None:
            self.scaler.load_state_dict(content["scaler"])
        self.history = [Epoch(**row) for row in content["history"]]
        partway = content.get("partway")  # earlier versions saved none
        self.partway = Partway(**partway) if partway else None
        self.batch_size = content.get("batch_size", 0)
        return True


class Checkpoints:
    """Decides when to write a checkpoint of a run, and writes it.

    Within an epoch, it writes one every `VITRINE_CHECKPOINT_SECONDS`, and one when the process is
    told to stop (SIGINT, as by Ctrl-C, or SIGTERM).

    Args:
        path: The file.
        key: Identifies the run.
        state: What is saved.
        writes: Whether this process writes; one process of several does.
        within: Whether an unfinished epoch is saved. Several processes each draw random numbers of
            their own, so that their checkpoints are written between epochs alone.
    """

    def __init__(
        self, path: Path, key: str, state: State, *, writes: bool = True, within: bool = True
    ) -> None:
        self.path, self.key, self.state = path, key, state
        self.writes, self.within = writes, within and writes
        self.interval = float(os.environ.get("VITRINE_CHECKPOINT_SECONDS") or DEFAULT_SECONDS)
        self._saved = time.monotonic()
        self._signal = 0

    @property
    def due(self) -> bool:
        """Whether to save now, within an epoch."""
        late = time.monotonic() - self._saved >= self.interval
        return self.within and (late or self._signal != 0)

    def save(self) -> None:
        """Write the state, if this process does so.

        Raises:
            KeyboardInterrupt: The process was interrupted by SIGINT; the state is saved.
            SystemExit: The process was told to end by SIGTERM; the state is saved.
        """
        if self.writes:
            self.state.save(self.path, self.key)
        self._saved = time.monotonic()
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal:
            raise SystemExit(128 + self._signal)

    @contextlib.contextmanager
    def deferring_signals(self) -> Iterator[None]:
        """Let the first SIGINT or SIGTERM make a checkpoint due; a second one ends at once."""
        if not self.within or threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may handle signals
            return

        def defer(number: int, _frame: FrameType | None) -> None:
            self._signal = number
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        before = {n: signal.signal(n, defer) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            restore()


def random_states() -> list[Tensor]:
    """Return the states of torch's own generators: that of the CPU, then of each GPU."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if _cuda() else [])]


def restore_random_states(states: list[Tensor]) -> None:
    """Set the states that `random_states` returned."""
    torch.set_rng_state(states[0])
    if _cuda() and len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def sums_of(metrics: tuple[Metric, ...]) -> list[Tensor]:
    """Return the states of running metrics, on the CPU: sums and weights of means.

    Those of a mean average precision are the scores and labels of all batches so far.
    """
    states = [value for metric in metrics for value in metric.metric_state.values()]
    return [
        (torch.cat(value) if isinstance(value, list) else value).cpu().clone() for value in states
    ]


def restore_sums(metrics: tuple[Metric, ...], sums: list[Tensor]) -> None:
    """Set the states that `sums_of` returned."""
    rest = iter(sums)
    for metric in metrics:
        for name, value in metric.metric_state.items():
            state = next(rest).to(metric.device)
            setattr(metric, name, [state] if isinstance(value, list) else state)


def _cuda() -> bool:
    return torch.cuda.is_available()


def write_content(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values atomically."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the new name with no content
    partial.replace(path)


def read_content(path: Path) -> dict[str, Any]:
    """Read what `write_content` wrote, after comparing its checksums, which torch does not do.

    Raises:
        Exception: One of `DAMAGE`; the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} differs")
    content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return content


def _trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return trainable weights and buffers; frozen weights are loaded again before resuming."""
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {key: value for key, value in model.state_dict().items() if key not in frozen}
