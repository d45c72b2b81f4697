import pytest
import torch

from training.faces.pair_losses import contrastive, triplet

ORIGIN = torch.zeros(1, 2)
AT_ONE = torch.tensor([[0.6, 0.8]])
AT_FIVE = torch.tensor([[3.0, 4.0]])


@pytest.mark.parametrize(
    ("second", "same", "margin", "loss"),
    [
        (AT_FIVE, True, 1.0, 25.0),
        (AT_FIVE, False, 1.0, 0.0),
        (AT_FIVE, False, 6.0, 36.0 - 25.0),
        (AT_ONE, True, 2.0, 1.0),
        (AT_ONE, False, 2.0, 4.0 - 1.0),
        (ORIGIN, False, 2.0, 4.0),
        (ORIGIN, True, 2.0, 0.0),
    ],
)
def test_contrastive_of_a_pair(
    second: torch.Tensor, same: bool, margin: float, loss: float
) -> None:
    given = contrastive(ORIGIN, second, torch.tensor([same]), margin)
    assert given.item() == pytest.approx(loss, abs=1e-6)


def test_contrastive_is_the_mean_over_pairs() -> None:
    first = ORIGIN.repeat(4, 1)
    second = torch.cat([AT_FIVE, AT_ONE, AT_ONE, ORIGIN])
    same = torch.tensor([True, True, False, False])
    given = contrastive(first, second, same, margin=2.0)
    assert given.item() == pytest.approx((25 + 1 + 3 + 4) / 4)


def test_contrastive_pulls_near_and_pushes_away() -> None:
    second = torch.cat([AT_ONE, AT_ONE]).requires_grad_()
    contrastive(ORIGIN.repeat(2, 1), second, torch.tensor([True, False]), 2.0).backward()  # type: ignore[no-untyped-call]
    assert second.grad is not None
    # d(d²)/dx = 2 x, halved by the mean
    torch.testing.assert_close(second.grad, torch.tensor([[0.6, 0.8], [-0.6, -0.8]]))


@pytest.mark.parametrize(
    ("positive", "negative", "margin", "loss"),
    [
        (AT_ONE, AT_FIVE, 1.0, 0.0),
        (AT_ONE, AT_FIVE, 4.5, 0.5),
        (AT_FIVE, AT_ONE, 1.0, 5.0),
        (AT_ONE, AT_ONE, 0.2, 0.2),
    ],
)
def test_triplet(
    positive: torch.Tensor, negative: torch.Tensor, margin: float, loss: float
) -> None:
    given = triplet(ORIGIN, positive, negative, margin)
    assert given.item() == pytest.approx(loss, abs=1e-6)


def test_triplet_is_the_mean_and_finite_where_pictures_are_alike() -> None:
    anchor = ORIGIN.repeat(2, 1).requires_grad_()
    loss = triplet(anchor, torch.cat([ORIGIN, AT_FIVE]), torch.cat([AT_FIVE, AT_ONE]), 1.0)
    assert loss.item() == pytest.approx((0 + 5) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert anchor.grad is not None
    assert torch.isfinite(anchor.grad).all()
