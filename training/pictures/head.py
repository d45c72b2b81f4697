"""The head on frozen layers: features are computed once, and the head is solved exactly."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from artifacts.multi_label import mean_average_precision
from training.inputs import Pictures
from training.networks import Classifier

STRENGTHS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Strengths of the L2 penalty that are tried, for features of unit variance."""
MAX_ITERATIONS = 100
FOLDS = 5
BATCH = 32
"""Number of pictures whose features are computed together."""
CHIRAL_STRENGTH = 1e-2
MAX_CHIRALITY = 0.65
"""Result of `told_from_mirrored` up to which training mirrors pictures."""


@dataclass(frozen=True)
class Features:
    """Features of the training and validation pictures behind the frozen layers, float32."""

    train: Tensor
    """N x D."""
    mirrored: Tensor
    """N x D, of the mirrored training pictures."""
    validation: Tensor
    """M x D."""
    train_labels: Tensor
    """int64 N; or N x C of 0 and 1 if a picture may have several labels."""
    validation_labels: Tensor
    """int64 M, or M x C."""


@dataclass(frozen=True)
class Head:
    """A linear head with its results on validation pictures."""

    weight: Tensor
    """C x D."""
    bias: Tensor
    """C."""
    strength: float
    """Strength of the L2 penalty that it was fitted with."""
    train_loss: float
    """See `loss_and_score`."""
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits N x C of features N x D."""
        return features @ self.weight.T + self.bias


@torch.inference_mode()
def compute_features(
    network: Classifier, train: Pictures, validation: Pictures, report: Callable[[float], None]
) -> Features:
    """Compute the features of all pictures, and of the mirrored training pictures.

    Args:
        network: The network; only its trunk is used.
        train: Training pictures.
        validation: Validation pictures.
        report: Is called with the fraction that is done, 0..1.
    """
    network.eval()
    total = 2 * len(train.labels) + len(validation.labels)
    done = 0
    found: list[Tensor] = []
    for view, count in (
        (train.plain, len(train.labels)),
        (train.mirrored, len(train.labels)),
        (validation.plain, len(validation.labels)),
    ):
        parts = []
        for rows in torch.split(torch.arange(count), BATCH):
            parts.append(network.trunk(*view(rows)).float().cpu())
            done += len(rows)
            report(done / total)
        found.append(torch.cat(parts))
    return Features(found[0], found[1], found[2], train.labels, validation.labels)


def told_from_mirrored(features: Features, seed: int) -> float:
    """Return how often a picture is told from its mirror image by their features, 0..1.

    It is 0.5 for things that have no handedness, such as cats, and near 1 for digits and letters
    (Lin et al. 2020, "Visual chirality", arXiv 2006.09512). A linear model without an intercept
    is fitted to the differences between the features of pictures and of their mirror images, and
    asked about the pictures that were left out of the fit.

    Args:
        features: Features of the pictures.
        seed: Seed of the division into folds.
    """
    differences = features.train - features.mirrored
    differences = differences / differences.std().clamp_min(1e-6)
    right = []
    for rest, held in _folds(len(differences), seed):
        weights = torch.zeros(differences.shape[1], requires_grad=True)

        def objective(weights: Tensor = weights, rest: Tensor = rest) -> Tensor:
            penalty = CHIRAL_STRENGTH * weights.square().sum()
            return F.softplus(-(differences[rest] @ weights)).mean() + penalty

        _minimise(weights, objective)
        right.append(differences[held] @ weights.detach() > 0)
    return float(torch.cat(right).double().mean())


def fit_head(
    features: Features, classes: int, *, flip: bool, strengths: tuple[float, ...] = STRENGTHS
) -> Head:
    """Fit a logistic regression for each strength and keep the best one.

    The best one has the smallest loss on validation pictures.

    Args:
        features: Features of the pictures.
        classes: Number of classes, C.
        flip: Whether the mirrored training pictures are trained on, too.
        strengths: Strengths of the L2 penalty to try, from the greatest.
    """
    inputs, labels = features.train, features.train_labels
    if flip:
        inputs = torch.cat([inputs, features.mirrored])
        labels = torch.cat([labels, labels])
    best: Head | None = None
    start: Tensor | None = None
    for strength in strengths:
        weight, bias, start = solve(inputs, labels, classes, strength, start)
        head = Head(weight, bias, strength, *_scores(weight, bias, features))
        if best is None or head.validation_loss < best.validation_loss:
            best = head
        elif head.validation_loss > 1.2 * best.validation_loss:
            break  # weaker penalties only fit the training pictures more closely
    assert best is not None  # noqa: S101 - there is at least one strength
    return best


def solve(
    inputs: Tensor, labels: Tensor, classes: int, strength: float, start: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise cross-entropy + strength * |weight|² by L-BFGS.

    If a picture may have several labels, the cross-entropies of the classes are added, so that each
    class has a logistic regression of its own (one versus rest).

    Features are centred and scaled to unit mean variance while the head is fitted.

    Args:
        inputs: Features, float N x D.
        labels: int64 N, or N x C of 0 and 1.
        classes: Number of classes, C.
        strength: Strength of the penalty.
        start: Scaled weights to start from, as an earlier call returned them; zeros by default.

    Returns:
        Weight C x D and bias C for the features as they are, and the scaled weights C x (D + 1).
    """
    mean = inputs.mean(0)
    scale = inputs.std(0, correction=0).mean().clamp_min(1e-6)
    rows = torch.cat([(inputs - mean) / scale, torch.ones(len(inputs), 1)], 1)
    weights = torch.zeros(classes, rows.shape[1]) if start is None else start.clone()
    weights.requires_grad_()

    def objective() -> Tensor:
        penalty = strength * weights[:, :-1].square().sum()
        logits = rows @ weights.T
        if labels.ndim > 1:
            wanted = labels.to(logits.dtype)
            return classes * F.binary_cross_entropy_with_logits(logits, wanted) + penalty
        return F.cross_entropy(logits, labels) + penalty

    _minimise(weights, objective)
    solved = weights.detach()
    weight = solved[:, :-1] / scale
    return weight, solved[:, -1] - weight @ mean, solved


def cross_validated(features: Features, classes: int, strength: float, seed: int) -> Tensor:
    """Return logits N x C of the training pictures by heads that were not fitted to them."""
    count = len(features.train_labels)
    logits = torch.empty(count, classes)
    for rest, held in _folds(count, seed):
        inputs, labels = features.train[rest], features.train_labels[rest]
        weight, bias, _ = solve(inputs, labels, classes, strength)
        logits[held] = features.train[held] @ weight.T + bias
    return logits


@torch.no_grad()
def put_head(network: Classifier, weight: Tensor, bias: Tensor) -> None:
    """Copy a linear head, C x D and C, into a network."""
    linear = next(m for m in network.head.modules() if isinstance(m, nn.Linear))
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def _folds(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the indices of the pictures to fit to, and of those left out, for each fold."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for fold in range(FOLDS):
        held = order[fold::FOLDS]
        rest = torch.ones(count, dtype=torch.bool)
        rest[held] = False
        yield rest.nonzero()[:, 0], held


def _minimise(weights: Tensor, objective: Callable[[], Tensor]) -> None:
    """Minimise a convex function of weights by L-BFGS, in place."""
    optimizer = torch.optim.LBFGS([weights], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _scores(weight: Tensor, bias: Tensor, features: Features) -> tuple[float, float, float, float]:
    """Return loss and accuracy on training pictures, and the same on validation pictures."""
    found: list[float] = []
    for inputs, labels in (
        (features.train, features.train_labels),
        (features.validation, features.validation_labels),
    ):
        found += loss_and_score(inputs @ weight.T + bias, labels)
    return found[0], found[1], found[2], found[3]


def loss_and_score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return cross-entropy (nats per picture) and accuracy (0..1).

    If a picture may have several labels, these are the binary cross-entropy (nats per picture and
    class) and the mean average precision.

    Args:
        logits: N x C.
        labels: int64 N, or N x C of 0 and 1.
    """
    if labels.ndim > 1:
        loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return float(loss), mean_average_precision(logits.numpy(), labels.numpy() > 0)
    accuracy = (logits.argmax(1) == labels).double().mean()
    return float(F.cross_entropy(logits, labels)), float(accuracy)
