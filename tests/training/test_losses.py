import math

import pytest
import torch

from training.losses import objective
from training.recipe import RecipeError
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
    assert loss.item() == pytest.approx(0.313262, abs=1e-5)  # the minimum, -log(e / (e + 1))


def test_label_smoothing() -> None:
    smoothed = objective(LOGITS[:1], LABELS[:1], Loss(label_smoothing=0.2)).item()
    assert smoothed == pytest.approx(0.9 * 0.126928 + 0.1 * 2.126928, abs=1e-5)


def test_arcface_widens_the_angle_to_the_right_person() -> None:
    cosines = torch.tensor([[0.5, 0.0]])  # angles of 60 and 90 degrees
    loss = objective(cosines, LABELS[:1], Loss("arcface", margin=math.pi / 6, scale=2.0))
    # with the margin, the right class is at 90 degrees, too
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


# four embeddings on a line, of people 0, 0, 1, 1
LINE = torch.tensor([[0.0], [1.0], [1.5], [4.0]])
PEOPLE = torch.tensor([0, 0, 1, 1])


def test_pairs_and_triplets_are_read_from_the_batch() -> None:
    places = [0, 0, 1, 2]  # pairs (0, 1) of one person and (0, 2) of two
    contrastive = objective(LINE[places], PEOPLE[places], Loss("contrastive", margin=2.0))
    assert contrastive.item() == pytest.approx((1.0 + 4.0 - 2.25) / 2)
    triplet = objective(LINE[[0, 1, 2]], PEOPLE[[0, 1, 2]], Loss("triplet", margin=1.0))
    assert triplet.item() == pytest.approx(1.0 - 1.5 + 1.0)


def test_the_hardest_triplet_of_each_picture() -> None:
    loss = objective(LINE, PEOPLE, Loss("triplet", margin=1.0, mining="hard"))
    # distances of the nearest negatives: 1.5, 0.5, 0.5, 3; of the positives: 1, 1, 2.5, 2.5
    costs = [1 - 1.5 + 1, 1 - 0.5 + 1, 2.5 - 0.5 + 1, 2.5 - 3 + 1]
    assert loss.item() == pytest.approx(sum(costs) / 4)


def test_semi_hard_triplets_are_right_but_too_near() -> None:
    loss = objective(LINE, PEOPLE, Loss("triplet", margin=1.0, mining="semi-hard"))
    # triplets (0, 1, 2) and (3, 2, 1): the differences 1.5 - 1 and 3 - 2.5 are within the margin
    assert loss.item() == pytest.approx(0.5)
    apart = objective(10 * LINE, PEOPLE, Loss("triplet", margin=0.1, mining="semi-hard"))
    assert apart.item() == pytest.approx(0.1), "without semi-hard triplets the loss is the margin"


def test_binary_cross_entropy_is_the_mean_over_pictures_and_classes() -> None:
    labels = torch.tensor([[1, 0], [1, 1]])
    parts = [math.log1p(math.exp(-2)), math.log(2), math.log(2), math.log1p(math.exp(-1))]
    loss = objective(LOGITS, labels, Loss("bce")).item()
    assert loss == pytest.approx(sum(parts) / 4, abs=1e-6)
    heads = torch.stack([LOGITS, LOGITS], 1)
    assert objective(heads, labels, Loss("bce")).item() == pytest.approx(2 * loss, abs=1e-6)


def test_imitation_is_the_divergence_from_the_teacher() -> None:
    taught = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    found = torch.tensor([[0.0, 0.0], [0.0, 4.0]], requires_grad=True)
    settings = Loss("distillation", teacher="cifar10-lite0", views=1, temperature=2.0)
    loss = objective(found, taught, settings)
    halves = [(each / 2).softmax(1) for each in (taught, found.detach())]
    expected = 4 * (halves[0] * (halves[0] / halves[1]).log()).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    loss.backward()
    assert found.grad is not None
    assert torch.allclose(found.grad, 2 * (halves[1] - halves[0]) / 2, atol=1e-6)
    assert objective(taught, taught, settings).item() == pytest.approx(0, abs=1e-7)


def test_distillation_is_the_squared_distance_to_the_teacher() -> None:
    taught = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    found = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    settings = Loss("distillation", teacher="faces-dlib")
    assert objective(found, taught, settings).item() == pytest.approx((4 + 9) / 2)
    assert objective(taught, taught, settings).item() == 0
    with pytest.raises(RecipeError, match=r"set network\.options\.width to 2"):
        objective(torch.zeros(2, 3), taught, settings)
