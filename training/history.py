"""The training history, a row per epoch, as CSV and as a plot."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from artifacts import Artifact, VitrineError
from artifacts.figure_style import add_legend, line_style
from training.plots import new_figure, png

HISTORY_FILE = "history.csv"
SPLITS = {"train": "training", "validation": "validation"}
"""Splits of which the history has columns, and what plots call them."""
DIVERGED = "diverged: the loss of epoch"
"""Words of the message of `DivergedError`, by which another process recognises it."""


@dataclass(frozen=True)
class Epoch:
    """One row of the history.

    Losses of logits are in nats per sample. Accuracies lie in 0..1; for contrastive and triplet
    losses, and on validation people, accuracy means 1 - equal error rate over all pairs. For the
    loss bce, losses are in nats per sample and class, and accuracy means mean average precision.
    """

    epoch: int
    """Counted from 1."""
    rate: float
    """Learning rate at the end of the epoch."""
    train_loss: float
    """The objective on augmented batches, label smoothing included."""
    train_accuracy: float
    """Accuracy on augmented batches, averaged while the weights change."""
    validation_loss: float
    """Cross-entropy, which is binary for bce; for embeddings, the loss of
    `training.faces.evaluate.validate`."""
    validation_accuracy: float
    train_seconds: float
    validation_seconds: float


class DivergedError(VitrineError):
    """The loss became NaN or infinite.

    Args:
        name: Name of the artifact that is not written.
        epoch: Epoch of the first such loss, counted from 1.
        parameters: Number of weights.
    """

    def __init__(self, name: str, epoch: int, parameters: int) -> None:
        super().__init__(
            f"{name} {DIVERGED} {epoch} is not a finite number. "
            "Nothing was written; lower the learning rate or choose another loss."
        )
        self.epoch = epoch
        self.parameters = parameters


def history_csv(history: Sequence[Epoch]) -> bytes:
    """Return one row per epoch; the columns are the fields of `Epoch`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({k: round(v, 6) for k, v in asdict(row).items()})
    return text.getvalue().encode()


def read_history(artifact: Artifact) -> list[dict[str, str]]:
    """Return an artifact's history by the fields of `Epoch`; empty if nothing was trained."""
    text = (artifact.path / HISTORY_FILE).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def history_plot(
    history: Sequence[Epoch], title: str, origin: str, score: str = "accuracy"
) -> bytes:
    """Plot loss, accuracy and seconds per epoch, for training and validation; returns a PNG.

    Args:
        history: One row per epoch.
        title: Heading.
        origin: The command and the seed, written below.
        score: What the accuracies are; see `Epoch`.
    """
    figure = new_figure(title, origin, width=11, height=3.6)
    epochs = [row.epoch for row in history]
    panels = figure.subplots(1, 3)
    quantities = {"loss": "loss", "accuracy": f"{score} (0 to 1)", "seconds": "time (s/epoch)"}
    for axes, (quantity, label) in zip(panels, quantities.items(), strict=True):
        for place, (split, words) in enumerate(SPLITS.items()):
            values = [getattr(row, f"{split}_{quantity}") for row in history]
            axes.plot(epochs, values, label=words, **line_style(place))
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid()
    add_legend(figure, panels[0])
    return png(figure)
