"""Draws the batches of an epoch from (seed, epoch) only, so that a resumed run repeats them.

A batch consists of groups of pictures. For losses of logits a group is a single picture; for losses
of embeddings it is a picture with its partners, or several pictures of one person.
"""

import torch
from torch import Tensor

from training.settings import Loss


def epoch_batches(
    labels: Tensor,
    batch_size: int,
    loss: Loss,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
) -> list[Tensor]:
    """Return the picture indices of each batch of an epoch.

    Every process gets its share of each batch. A smaller last batch is dropped so that batch-norm
    sees full batches, unless it is the only one.

    Args:
        labels: int64 N.
        batch_size: Pictures per batch, over all devices together.
        loss: Its `partners` and `per_class` define the groups.
        seed: Seed of the recipe.
        epoch: Epoch, counted from 0.
        rank: Number of this process.
        world: Number of processes.

    Returns:
        Batches of B groups of M pictures, int64 M * B each: first the first picture of every
        group, then the second one of every group, and so on.
    """
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    if loss.per_class > 1:
        groups = class_groups(labels, loss.per_class, generator)
    else:
        groups = torch.arange(len(labels))[:, None]
    order = torch.randperm(len(groups), generator=generator)
    if loss.partners:
        groups = with_partners(labels, loss.partners, generator)
    size = max(1, batch_size // groups.shape[1])
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) < size:
        batches.pop()
    return [groups[batch[rank::world]].T.flatten() for batch in batches]


def with_partners(
    labels: Tensor, partners: tuple[bool | None, ...], generator: torch.Generator
) -> Tensor:
    """Draw partners at random for each picture.

    Args:
        labels: int64 N.
        partners: Kind of each partner: another picture of the same class (True), a picture of
            another class (False), or either with probability 1/2 (None).
        generator: The only source of randomness.

    Returns:
        int64 N x (1 + partners), each picture and its partners. The only picture of a class is its
        own partner.
    """
    columns = [torch.arange(len(labels))]
    for kind in partners:
        if kind is None:
            same = torch.rand(len(labels), generator=generator) < 0.5  # noqa: PLR2004
        else:
            same = torch.full((len(labels),), kind)
        columns.append(_partners(labels, same, generator))
    return torch.stack(columns, 1)


def class_groups(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draw groups of `size` pictures of one class, int64 G x size; no picture is in two groups."""
    order = torch.randperm(len(labels), generator=generator)
    groups = []
    for number in range(int(labels.max()) + 1):
        members = order[labels[order] == number]
        groups.append(members[: len(members) // size * size].view(-1, size))
    return torch.cat(groups)


def _partners(labels: Tensor, same: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a partner for each picture uniformly, of its class where `same` (bool N), else not."""
    count = len(labels)
    by_class = labels.argsort(stable=True)
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    start, size = starts[labels], sizes[labels]  # (N)
    place = torch.empty_like(labels)
    place[by_class] = torch.arange(count)
    # float64, because float32 would not make all steps of a large range equally likely
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    step = (uniform * torch.where(same, size - 1, count - size)).long()
    inside = start + (place - start + 1 + step) % size
    inside = torch.where(size > 1, inside, place)
    outside = (start + size + step) % count
    return by_class[torch.where(same, inside, outside)]
