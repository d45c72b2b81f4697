"""The training losses of a batch."""

import math

import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from torch import Tensor

from training.faces.pair_losses import contrastive, triplet
from training.recipe import RecipeError
from training.settings import Loss


def objective(outputs: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    """Return the mean loss of a batch.

    Args:
        outputs: Logits, float N x C, or N x K x C of K heads, whose losses are added; cosines
            N x C for arcface; embeddings N x D for contrastive and triplet.
        labels: int64 N; for cross-entropy also target probabilities N x C; for bce N x C of 0 and
            1; for distillation embeddings of the teacher N x D, or its logits N x C. Pairs and
            triplets that are drawn come as all first pictures, then all second ones (then all third
            ones).
        settings: Which loss; see `Loss.name`.

    Returns:
        A scalar; for logits and cosines in nats per sample, for bce per sample and class.
    """
    if settings.embeds:
        return _embedding_loss(outputs, labels, settings)
    if outputs.ndim == 3:  # noqa: PLR2004
        return torch.stack([objective(head, labels, settings) for head in outputs.unbind(1)]).sum()
    if settings.name == "distillation":
        return imitation(outputs, labels, settings.temperature)
    return _loss_of_labels(outputs, labels, settings)


def arcface(cosines: Tensor, labels: Tensor, margin: float, scale: float) -> Tensor:
    """Return the cross-entropy of cosines with an angular margin (ArcFace, arXiv 1801.07698).

    Args:
        cosines: float N x C, between embeddings and the centres of the classes.
        labels: int64 N.
        margin: Added to the angle between embedding and right centre, radians; the sum is clamped
            to pi.
        scale: Factor on all cosines.

    Returns:
        A scalar, nats per sample.
    """
    right = cosines.gather(1, labels[:, None])  # (N, 1)
    angle = right.clamp(-1 + 1e-6, 1 - 1e-6).acos()  # the gradient at 1 is infinite
    widened = (angle + margin).clamp(max=math.pi).cos()
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], widened), labels)


def distillation(embeddings: Tensor, taught: Tensor) -> Tensor:
    """Return the mean squared distance between embeddings and those of a teacher, both N x D.

    Raises:
        RecipeError: They differ in width.
    """
    if embeddings.shape != taught.shape:
        raise RecipeError(
            f"the network has embeddings of {embeddings.shape[1]} numbers and its teacher of "
            f"{taught.shape[1]}; set network.options.width to {taught.shape[1]}."
        )
    return (embeddings - taught).square().sum(1).mean()


def imitation(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return how far probabilities are from those of a teacher (Hinton et al. 2015).

    Args:
        logits: float N x C.
        taught: Logits of the teacher, float N x C.
        temperature: What both are divided by.

    Returns:
        The mean Kullback-Leibler divergence from the teacher in nats, times the square of the
        temperature, so that the size of the gradient hardly depends on it.
    """
    own, target = ((each / temperature).log_softmax(1) for each in (logits, taught))
    divergence = F.kl_div(own, target, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def _loss_of_labels(outputs: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    if settings.name == "bce":
        return F.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype))
    if settings.name in ("nll", "nll-on-logits"):
        return F.nll_loss(outputs.log_softmax(1) if settings.name == "nll" else outputs, labels)
    if settings.name == "doubled-softmax":
        return F.cross_entropy(outputs.softmax(1), labels)
    return F.cross_entropy(outputs, labels, label_smoothing=settings.label_smoothing)


def _embedding_loss(outputs: Tensor, labels: Tensor, settings: Loss) -> Tensor:
    if settings.name == "distillation":
        return distillation(outputs, labels)
    if settings.name == "arcface":
        return arcface(outputs, labels, settings.margin, settings.scale)
    if settings.name == "triplet":
        return triplet(*_triplets(outputs, labels, settings), settings.margin)
    (first, second), (one, other) = outputs.chunk(2), labels.chunk(2)
    return contrastive(first, second, one == other, settings.margin)


def _triplets(embeddings: Tensor, labels: Tensor, settings: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors, positives and negatives, each T x D, as drawn or as mined in the batch."""
    if settings.mining == "none":
        anchor, positive, negative = embeddings.chunk(3)
        return anchor, positive, negative
    distance = LpDistance(normalize_embeddings=False)
    if settings.mining == "hard":
        miner = BatchHardMiner(distance=distance)
    else:
        miner = TripletMarginMiner(settings.margin, "semihard", distance=distance)
    anchors, positives, negatives = miner(embeddings, labels)
    if not len(
        anchors
    ):  # nothing was mined: a triplet of one picture has a constant loss without gradient
        anchors = positives = negatives = torch.zeros(1, dtype=torch.long)
    return embeddings[anchors], embeddings[positives], embeddings[negatives]
