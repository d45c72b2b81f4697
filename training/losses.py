"""What training makes small: the loss of a batch."""

import math

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from torch import Tensor

from training.faces.pair_losses import contrastive, triplet
from training.settings import Loss


def objective(outputs: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    """Mean loss of a batch.

    Args:
        outputs: logits, float N x C, or N x K x C of K heads, whose losses are added; cosines
            N x C for arcface; embeddings N x D for contrastive and triplet.
        labels: int64 N; or target shares N x C, cross-entropy only. Of pairs first those of all
            first pictures, then those of all second ones; of triplets alike.
        settings: which loss; `Loss.name` says what each is.

    Returns:
        A scalar, in nats per sample where it is of logits or cosines.
    """
    if settings.embeds:
        return _of_embeddings(outputs, labels, settings)
    if outputs.ndim == 3:  # noqa: PLR2004
        return torch.stack([objective(head, labels, settings) for head in outputs.unbind(1)]).sum()
    if settings.name == "nll":
        return F.nll_loss(outputs.log_softmax(1), labels)
    if settings.name == "nll-on-logits":
        return F.nll_loss(outputs, labels)
    if settings.name == "doubled-softmax":
        return F.cross_entropy(outputs.softmax(1), labels)
    return F.cross_entropy(outputs, labels, label_smoothing=settings.label_smoothing)


def arcface(cosines: Tensor, labels: Tensor, margin: float, scale: float) -> Tensor:
    """Cross-entropy of cosines whose angle to the right class is widened (arXiv 1801.07698).

    Args:
        cosines: float N x C, between embeddings and the centres of the classes.
        labels: int64 N.
        margin: added to the angle to the right centre, radians; the sum stops at pi.
        scale: factor on all cosines.

    Returns:
        A scalar, nats per sample.
    """
    right = cosines.gather(1, labels[:, None])  # (N, 1)
    angle = right.clamp(-1 + 1e-6, 1 - 1e-6).acos()  # at 1 its gradient is infinite
    widened = (angle + margin).clamp(max=math.pi).cos()
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], widened), labels)


def _of_embeddings(outputs: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    if settings.name == "arcface":
        return arcface(outputs, labels, settings.margin, settings.scale)
    if settings.name == "triplet":
        return triplet(*_triplets(outputs, labels, settings), settings.margin)
    (first, second), (one, other) = outputs.chunk(2), labels.chunk(2)
    return contrastive(first, second, one == other, settings.margin)


def _triplets(embeddings: Tensor, labels: Tensor, settings: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors, positives and negatives, each T x D: as drawn, or as found in the batch."""
    if settings.mining == "none":
        anchor, positive, negative = embeddings.chunk(3)
        return anchor, positive, negative
    distance = LpDistance(normalize_embeddings=False)
    if settings.mining == "hard":
        miner = BatchHardMiner(distance=distance)
    else:
        miner = TripletMarginMiner(settings.margin, "semihard", distance=distance)
    anchors, positives, negatives = miner(embeddings, labels)
    if not len(anchors):  # none is semi-hard: a triplet that costs the margin, and moves nothing
        anchors = positives = negatives = torch.zeros(1, dtype=torch.long)
    return embeddings[anchors], embeddings[positives], embeddings[negatives]
