"""What training makes small: the loss of a batch, in nats per sample."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.settings import Loss


def objective(logits: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    """Mean loss of a batch.

    Args:
        logits: float N x C; or N x K x C of K heads, whose losses are added.
        labels: int64 N; or target shares N x C, cross-entropy only.
        settings: which loss; `Loss.name` says what each is.

    Returns:
        A scalar.
    """
    if logits.ndim == 3:  # noqa: PLR2004
        return torch.stack([objective(head, labels, settings) for head in logits.unbind(1)]).sum()
    if settings.name == "nll":
        return F.nll_loss(logits.log_softmax(1), labels)
    if settings.name == "nll-on-logits":
        return F.nll_loss(logits, labels)
    if settings.name == "doubled-softmax":
        return F.cross_entropy(logits.softmax(1), labels)
    return F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
