import pytest
import torch
from torch import nn

from training.muon import Muon, orthogonalise


def test_orthogonalise_brings_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((64, 200), (200, 64)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(*shape) * 7))
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_orthogonalise_keeps_the_directions() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(32, 100)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalise(matrix) @ right.T
    assert (turned - torch.diag(turned.diag())).abs().max() < 0.05


@pytest.mark.parametrize("fast", [True, False])
def test_orthogonalise_computes_in_bfloat16_only_where_it_is_fast(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.muon.has_bf16", lambda: fast)
    result = orthogonalise(torch.randn(32, 100))
    assert result.dtype == torch.float32
    assert torch.equal(result, result.bfloat16().float()) is fast


def test_convolutions_keep_their_norm_and_the_rest_is_sgd() -> None:
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(4, 9, 3, bias=False), nn.Linear(5, 2)
    reference = nn.Linear(5, 2)
    reference.load_state_dict(linear.state_dict())
    groups = [
        {"params": convolution.parameters(), "orthogonal": True},
        {"params": linear.parameters(), "share": 0.5, "weight_decay": 0.1},
    ]
    muon = Muon(groups, lr=0.2, momentum=0.9)
    sgd = torch.optim.SGD(
        reference.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1
    )
    for _ in range(5):
        x = torch.randn(8, 5)
        for layer, optimizer in ((linear, muon), (reference, sgd)):
            optimizer.zero_grad()
            loss = (layer(x) ** 2).mean()
            if layer is linear:
                loss = loss + convolution(torch.randn(2, 4, 6, 6)).mean()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(linear.weight, reference.weight)
    assert abs(convolution.weight.norm().item() - 3) < 1
