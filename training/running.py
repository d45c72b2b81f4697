"""Running figures of an epoch. They stay on the device until somebody asks for them."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MultilabelAveragePrecision

from training.checkpoint import restore_sums, sums_of
from training.faces.evaluate import pair_accuracy
from training.settings import Loss


class Running:
    """The mean loss of the batches, and their accuracy.

    The accuracy is the mean over pictures; over batches for pairs and triplets; mean average
    precision for the loss bce; and for distillation the mean cosine to the teacher's embeddings, or
    the share of the pictures that get the same top class from a teacher that classifies.

    Args:
        labels: Of all pictures, int64 N, or N x C for bce, or float N x D for distillation.
        loss: The loss of the recipe.
        device: Where the outputs come from.
    """

    def __init__(self, labels: Tensor, loss: Loss, device: torch.device) -> None:
        self.settings = loss
        self.loss = MeanMetric(nan_strategy="disable").to(device)
        accuracy: Metric = MeanMetric(nan_strategy="disable")
        if loss.task == "multi-label":
            # checking its arguments would make a GPU wait
            accuracy = MultilabelAveragePrecision(labels.shape[1], validate_args=False)
        self.accuracy = accuracy.to(device)
        self._embedded: list[tuple[Tensor, Tensor]] = []
        """Embeddings and labels of the batches whose pairs are not measured yet."""

    def update(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            loss: Its mean loss, a scalar.
            outputs: What the network answered, N x C, N x K x C or N x D; see `objective`.
            labels: int64 N, N x C for bce or, for distillation, what the teacher answers, float
                N x D or N x C; on the same device.
        """
        self.loss.update(loss)
        self.add_accuracy(outputs, labels)

    def add_accuracy(self, outputs: Tensor, labels: Tensor) -> None:
        """Add a batch to the accuracy alone."""
        if self.settings.name in ("contrastive", "triplet"):
            self._embedded.append((outputs.clone(), labels))  # a CPU measures pairs
        elif self.settings.task == "multi-label":
            scores = outputs.mean(1) if outputs.ndim == 3 else outputs  # noqa: PLR2004
            # in single precision, the sigmoids of two large logits may be equal
            self.accuracy.update(scores.double().sigmoid(), labels)
        elif self.settings.name == "distillation" and self.settings.embeds:
            self.accuracy.update(F.cosine_similarity(outputs.float(), labels))
        else:
            self.accuracy.update(correct(outputs, labels))

    @property
    def note(self) -> str:
        """The mean loss of the batches of this process, in words; a GPU waits."""
        return f"loss {float(self.loss.mean_value) / float(self.loss.weight):.4f}"

    def sums(self) -> list[Tensor]:
        """Return what was added up so far, on the CPU."""
        self._measure_pairs()
        return sums_of((self.loss, self.accuracy))

    def restore(self, sums: list[Tensor]) -> None:
        """Continue from what `sums` returned."""
        restore_sums((self.loss, self.accuracy), sums)

    def compute(self) -> tuple[float, float]:
        """Return loss and accuracy over all processes; a GPU waits."""
        self._measure_pairs()
        return float(self.loss.compute()), float(self.accuracy.compute())

    def _measure_pairs(self) -> None:
        for embeddings, labels in self._embedded:
            self.accuracy.update(pair_accuracy(embeddings, labels).to(self.accuracy.device))
        self._embedded.clear()


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return float N: 1 where the top class is right, else 0.

    Args:
        logits: N x C, or N x K x C of K heads, which are averaged.
        labels: int64 N, or logits of a teacher N x C, whose top class counts as right.
    """
    scores = logits.mean(1) if logits.ndim == 3 else logits  # noqa: PLR2004
    truth = labels if labels.ndim == 1 else labels.argmax(1)
    return (scores.argmax(1) == truth).float()


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of labels N x C of 0 and 1, in nats per sample and class."""
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
