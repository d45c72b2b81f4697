import pytest
import torch
from torch import Tensor

from training.faces.sampling import class_groups, epoch_batches, with_partners
from training.settings import Loss

PLAIN = Loss()
LABELS = torch.tensor([0] * 7 + [1] * 5 + [2] * 3 + [3] * 25)


def drawn(count: int, size: int, epoch: int = 0, **share: int) -> list[Tensor]:
    labels = torch.zeros(count, dtype=torch.long)
    return epoch_batches(labels, size, PLAIN, seed=3, epoch=epoch, **share)


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    first = drawn(100, 32, epoch=5)
    assert [len(b) for b in first] == [32, 32, 32]  # the last 4 pictures make no full batch
    assert all(a.equal(b) for a, b in zip(first, drawn(100, 32, epoch=5), strict=True))
    assert not first[0].equal(drawn(100, 32, epoch=6)[0])


def test_devices_share_each_batch() -> None:
    parts = [drawn(64, 16, rank=r, world=2) for r in (0, 1)]
    for batch, left, right in zip(drawn(64, 16), *parts, strict=True):
        assert sorted(batch.tolist()) == sorted(left.tolist() + right.tolist())


def test_one_small_batch_is_kept() -> None:
    assert [len(b) for b in drawn(5, 32)] == [5]


def test_pairs_are_of_one_person_half_of_the_time() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.cat([with_partners(LABELS, (None,), generator) for _ in range(600)])
    first, second = pairs.T
    assert (first != second).all()
    same = LABELS[first] == LABELS[second]
    assert same.float().mean().item() == pytest.approx(0.5, abs=0.02)
    counts = second[same & (first == 15)].bincount(minlength=40)[16:]
    assert counts.min() > 0
    others = second[~same & (first == 15)].bincount(minlength=40)[:15]
    assert others.min() > 0, "every picture of another person may be drawn"


def test_triplets_hold_another_picture_and_another_person() -> None:
    loss = Loss("triplet")
    batches = epoch_batches(LABELS, 12, loss, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [12] * 10, "four triplets of 40 pictures"
    for batch in batches:
        anchor, positive, negative = batch.chunk(3)
        assert (LABELS[anchor] == LABELS[positive]).all()
        assert (LABELS[anchor] != LABELS[negative]).all()
        assert (anchor != positive).all()
    anchors = torch.cat([batch.chunk(3)[0] for batch in batches])
    assert anchors.sort().values.tolist() == list(range(40)), "each picture once an epoch"


def test_a_person_alone_is_its_own_partner() -> None:
    labels = torch.tensor([0, 1, 1])
    pair = with_partners(labels, (True,), torch.Generator().manual_seed(0))
    assert pair.tolist() == [[0, 0], [1, 2], [2, 1]]


def test_people_come_in_groups() -> None:
    groups = class_groups(LABELS, 4, torch.Generator().manual_seed(0))
    assert len(groups) == 1 + 1 + 0 + 6
    assert (LABELS[groups] == LABELS[groups][:, :1]).all()
    assert len(groups.unique()) == groups.numel()
    loss = Loss("triplet", mining="hard", per_class=4)
    for batch in epoch_batches(LABELS, 8, loss, seed=0, epoch=0):
        assert set(LABELS[batch].bincount().tolist()) <= {0, 4, 8}
