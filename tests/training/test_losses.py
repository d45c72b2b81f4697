import math

import pytest
import torch

from training.losses import objective
from training.settings import Loss

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
LABELS = torch.tensor([0, 0])


@pytest.mark.parametrize("name", ["cross-entropy", "nll"])
def test_nll_of_log_softmax_is_cross_entropy(name: str) -> None:
    assert objective(LOGITS, LABELS, Loss(name)).item() == pytest.approx(0.720095, abs=1e-5)  # type: ignore[arg-type]


def test_nll_on_logits_has_no_floor() -> None:
    assert objective(LOGITS, LABELS, Loss("nll-on-logits")).item() == -1.0
    assert objective(100 * LOGITS, LABELS, Loss("nll-on-logits")).item() == -100.0


def test_doubled_softmax_never_gets_small() -> None:
    sure = torch.tensor([[1000.0, 0.0]])
    loss = objective(sure, LABELS[:1], Loss("doubled-softmax"))
    assert loss.item() == pytest.approx(0.313262, abs=1e-5)  # -log(e / (e + 1)) at its best


def test_label_smoothing() -> None:
    smoothed = objective(LOGITS[:1], LABELS[:1], Loss(label_smoothing=0.2)).item()
    assert smoothed == pytest.approx(0.9 * 0.126928 + 0.1 * 2.126928, abs=1e-5)


def test_arcface_widens_the_angle_to_the_right_person() -> None:
    cosines = torch.tensor([[0.5, 0.0]])  # at 60 and 90 degrees
    loss = objective(cosines, LABELS[:1], Loss("arcface", margin=math.pi / 6, scale=2.0))
    # the right one now at 90 degrees, too
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    none = objective(cosines, LABELS[:1], Loss("arcface", margin=0.0, scale=2.0))
    assert none.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)


def test_arcface_stops_at_the_opposite_and_has_gradients_at_the_centre() -> None:
    cosines = torch.tensor([[-0.99, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = objective(cosines, LABELS, Loss("arcface", margin=0.5, scale=1.0))
    assert math.isfinite(loss.item())
    loss.backward()  # type: ignore[no-untyped-call]
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()


# four pictures on a line: people 0, 0, 1, 1
LINE = torch.tensor([[0.0], [1.0], [1.5], [4.0]])
PEOPLE = torch.tensor([0, 0, 1, 1])


def test_pairs_and_triplets_are_read_from_the_batch() -> None:
    places = [0, 0, 1, 2]  # 0 with 1 of the same person, 0 with 2 of another
    contrastive = objective(LINE[places], PEOPLE[places], Loss("contrastive", margin=2.0))
    assert contrastive.item() == pytest.approx((1.0 + 4.0 - 2.25) / 2)
    triplet = objective(LINE[[0, 1, 2]], PEOPLE[[0, 1, 2]], Loss("triplet", margin=1.0))
    assert triplet.item() == pytest.approx(1.0 - 1.5 + 1.0)


def test_the_hardest_triplet_of_each_picture() -> None:
    loss = objective(LINE, PEOPLE, Loss("triplet", margin=1.0, mining="hard"))
    # nearest other person at 1.5, 0.5, 0.5, 3; the same person at 1, 1, 2.5, 2.5
    costs = [1 - 1.5 + 1, 1 - 0.5 + 1, 2.5 - 0.5 + 1, 2.5 - 3 + 1]
    assert loss.item() == pytest.approx(sum(costs) / 4)


def test_semi_hard_triplets_are_right_but_too_near() -> None:
    loss = objective(LINE, PEOPLE, Loss("triplet", margin=1.0, mining="semi-hard"))
    # (0, 1, 2): 1.5 - 1 lies within the margin; (3, 2, 1): 3 - 2.5 does, too
    assert loss.item() == pytest.approx(0.5)
    apart = objective(10 * LINE, PEOPLE, Loss("triplet", margin=0.1, mining="semi-hard"))
    assert apart.item() == pytest.approx(0.1), "none is semi-hard: nothing moves"
