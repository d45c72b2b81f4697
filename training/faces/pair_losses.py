"""Losses of embeddings over pairs and triplets of pictures; distances are Euclidean."""

import torch
from torch import Tensor


def contrastive(first: Tensor, second: Tensor, same: Tensor, margin: float) -> Tensor:
    """Return the mean of y d² + (1 - y) max(0, m² - d²) over pairs, as stated in the study.

    The original loss of Hadsell, Chopra and LeCun 2006 has max(0, m - d)² for pairs of different
    people, whose gradient is largest for pairs at distance 0; here it is largest near the margin.

    Args:
        first: float N x D, embeddings of the first pictures.
        second: float N x D, embeddings of the second pictures.
        same: bool N, whether a pair shows one person (y = 1).
        margin: m, positive; pairs of different people at a larger distance have a loss of 0.

    Returns:
        A scalar.
    """
    squared = (first - second).square().sum(1)  # (N)
    return torch.where(same, squared, (margin**2 - squared).clamp(min=0)).mean()


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, d(a, p) - d(a, n) + m) over triplets.

    This is the loss of Schroff et al. 2015 with distances that are not squared.

    Args:
        anchor: float N x D.
        positive: float N x D, other pictures of the anchors' people.
        negative: float N x D, pictures of other people.
        margin: m, by which the negative should be farther than the positive.

    Returns:
        A scalar.
    """
    near: Tensor = torch.linalg.vector_norm(anchor - positive, dim=1)  # (N)
    far: Tensor = torch.linalg.vector_norm(anchor - negative, dim=1)  # (N)
    return (near - far + margin).clamp(min=0).mean()
