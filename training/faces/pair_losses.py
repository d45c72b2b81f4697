"""Losses of embeddings over pairs and triplets of pictures; distances are Euclidean."""

import torch
from torch import Tensor


def contrastive(first: Tensor, second: Tensor, same: Tensor, margin: float) -> Tensor:
    """Mean of y d² + (1 - y) max(0, m² - d²) over pairs, as the study states it.

    Hadsell, Chopra and LeCun 2006, whose loss it follows, have max(0, m - d)² for pairs of two:
    that pushes hardest at pairs that lie on each other, this one at pairs near the margin.

    Args:
        first: float N x D, embeddings of the first pictures.
        second: float N x D, of the second.
        same: bool N, whether a pair is of one person (y = 1).
        margin: m, positive: the distance beyond which a pair of two people costs nothing.

    Returns:
        A scalar.
    """
    squared = (first - second).square().sum(1)  # (N)
    return torch.where(same, squared, (margin**2 - squared).clamp(min=0)).mean()


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, d(a, p) - d(a, n) + m) over triplets (Schroff et al. 2015, unsquared).

    Args:
        anchor: float N x D.
        positive: float N x D, other pictures of the anchors' people.
        negative: float N x D, pictures of other people.
        margin: m, by how much the other person should be farther.

    Returns:
        A scalar.
    """
    near: Tensor = torch.linalg.vector_norm(anchor - positive, dim=1)  # (N)
    far: Tensor = torch.linalg.vector_norm(anchor - negative, dim=1)  # (N)
    return (near - far + margin).clamp(min=0).mean()
