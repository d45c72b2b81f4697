"""Which pictures enter a batch together: drawn by (seed, epoch) alone, so that resuming repeats it.

A batch is made of groups of pictures: of single ones for losses of logits; of a picture and its
partners, or of several pictures of one person, for losses of embeddings.
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
    """Indices of one epoch's batches.

    Every device takes its share of each batch. The last, smaller batch is left out so that
    batch-norm sees full batches, unless it is the only one.

    Args:
        labels: int64 N.
        batch_size: pictures of a batch, over all devices together.
        loss: its `partners` and `per_class` say what a group is.
        seed: of the recipe.
        epoch: counted from 0.
        rank: this process.
        world: number of processes.

    Returns:
        Batches of B groups of M pictures: int64 M * B, first the first of every group, and so on.
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
    """Each picture with partners drawn at random.

    Args:
        labels: int64 N.
        partners: of each, whether it is another picture of the same class (True), one of another
            class (False), or with probability 1/2 either.
        generator: the only source of chance.

    Returns:
        int64 N x (1 + partners). A picture that is the only one of its class is its own partner.
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
    """Groups of `size` pictures of one class, G x size; each picture is in one group at most."""
    order = torch.randperm(len(labels), generator=generator)
    groups = []
    for number in range(int(labels.max()) + 1):
        members = order[labels[order] == number]
        groups.append(members[: len(members) // size * size].view(-1, size))
    return torch.cat(groups)


def _partners(labels: Tensor, same: Tensor, generator: torch.Generator) -> Tensor:
    """A picture for each, of its class where `same` (bool N), else of another; evenly drawn."""
    count = len(labels)
    by_class = labels.argsort(stable=True)
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    start, size = starts[labels], sizes[labels]  # (N)
    place = torch.empty_like(labels)
    place[by_class] = torch.arange(count)
    # float64 in 0..1 times a whole number: each of its values is as likely
    chance = torch.rand(count, generator=generator, dtype=torch.float64)
    step = (chance * torch.where(same, size - 1, count - size)).long()
    inside = start + (place - start + 1 + step) % size
    inside = torch.where(size > 1, inside, place)
    outside = (start + size + step) % count
    return by_class[torch.where(same, inside, outside)]
