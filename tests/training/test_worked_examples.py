"""Checks autograd and the layers of the networks against examples worked by hand."""

import math

import pytest
import torch
from torch import nn

from training.networks.mlp import mlp


def test_two_linear_layers_are_one() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 6).double(), nn.Linear(6, 3).double()
    merged = nn.Linear(4, 3).double()
    with torch.no_grad():
        merged.weight.copy_(second.weight @ first.weight)
        merged.bias.copy_(second.weight @ first.bias + second.bias)
    x = torch.randn(50, 4, dtype=torch.float64)
    torch.testing.assert_close(second(first(x)), merged(x))


def test_the_perceptron_is_more_than_one_linear_layer() -> None:
    torch.manual_seed(0)
    trunk, head = mlp("relu")
    x = torch.rand(1, 3, 28, 28)
    zero = torch.zeros_like(x)
    answers = [head(trunk(image)) for image in (x, -x, zero)]
    # f(x) + f(-x) = 2 f(0) for every affine f
    assert not torch.allclose(answers[0] + answers[1], 2 * answers[2], atol=1e-3)


ACTIVATIONS = torch.tensor([-4.5, -0.75, 3.0, 6.0, 1.5])


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.5, [-9.0, 0.0, 6.0, 0.0, 3.0]), (0.4, [-7.5, 0.0, 5.0, 0.0, 2.5])],
)
def test_inverted_dropout(rate: float, expected: list[float]) -> None:
    layer = nn.Dropout(rate).train()
    seen = []
    for seed in range(500):  # some seed drops exactly neurons 2 and 4
        torch.manual_seed(seed)
        seen.append([round(v, 5) + 0.0 for v in layer(ACTIVATIONS).tolist()])
    assert expected in seen
    assert layer.eval()(ACTIVATIONS).equal(ACTIVATIONS)


def test_the_perceptrons_dropout_is_applied() -> None:
    trunk, _ = mlp("relu", dropout=0.2)
    hidden = trunk.train()(torch.rand(200, 3, 28, 28))
    plain = trunk.eval()(torch.rand(200, 3, 28, 28))
    assert (hidden == 0).float().mean() > (plain == 0).float().mean() + 0.05


class TestBackPropagation:
    """Inputs 1 and 2, hidden sigmoid units 3 and 4, sigmoid output 5; no biases, rate 1."""

    inputs = torch.tensor([0.35, 0.9], dtype=torch.float64)
    gradients = (
        (0.0018581422, 0.0047780803),  # weights from inputs 1 and 2 into unit 3
        (0.0057201516, 0.0147089611),  # weights from inputs 1 and 2 into unit 4
        (0.0553480699, 0.0540032740),  # weights from units 3 and 4 into unit 5
    )

    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.tensor([[0.1, 0.8], [0.4, 0.6]], dtype=torch.float64, requires_grad=True)
        output = torch.tensor([0.3, 0.9], dtype=torch.float64, requires_grad=True)
        return hidden, output

    def test_forward(self) -> None:
        hidden, output = self.weights()
        y = torch.sigmoid(hidden @ self.inputs)
        o = output @ y
        assert y.tolist() == pytest.approx([0.6802671967, 0.6637386974], abs=1e-9)
        assert o.item() == pytest.approx(0.8014449867, abs=1e-9)
        assert torch.sigmoid(o).item() == pytest.approx(0.6902834929, abs=1e-9)

    def test_backward_and_the_target_the_gradients_imply(self) -> None:
        hidden, output = self.weights()
        y = torch.sigmoid(hidden @ self.inputs)
        y5 = torch.sigmoid(output @ y)
        slope = (y5 * (1 - y5) * y[0]).item()
        # for the loss (y5 - target)^2; half of that loss would give a target of 0.3097
        target = y5.item() - self.gradients[2][0] / (2 * slope)
        assert target == pytest.approx(0.5, abs=1e-8)
        ((y5 - 0.5) ** 2).backward()
        assert hidden.grad is not None
        assert output.grad is not None
        assert hidden.grad.tolist()[0] == pytest.approx(self.gradients[0], abs=1e-9)
        assert hidden.grad.tolist()[1] == pytest.approx(self.gradients[1], abs=1e-9)
        assert output.grad.tolist() == pytest.approx(self.gradients[2], abs=1e-9)
        moved = torch.cat([output - output.grad, (hidden - hidden.grad).flatten()])
        # the example truncates its new weights to two decimals
        cut = [math.floor(100 * w) / 100 for w in moved.tolist()]
        assert cut == [0.24, 0.84, 0.09, 0.79, 0.39, 0.58]
