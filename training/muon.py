"""The Muon optimizer, which orthogonalises the momentum before it updates the weights."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from training.device import has_bf16

# of the quintic polynomial whose iteration moves singular values in 0..1 to 1 the fastest
# (Jordan et al. 2024)
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3


class Muon(Optimizer):
    """SGD with Nesterov momentum; updates of convolution weights are orthogonalised.

    It is meant for convolutions with batch-norm behind them. The scale of their weights has no
    effect, so the norm of each weight is kept at sqrt(output channels) and only the learning rate
    determines how far an update rotates it.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    Args:
        groups: Parameter groups. A group with `orthogonal` True holds convolution weights of rank
            4; other groups get SGD with Nesterov momentum and L2 `weight_decay`.
        lr: Learning rate, which is multiplied by each group's `share` (default 1).
        momentum: Decay of the running sum of gradients.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0}
        super().__init__(groups, {**defaults, "share": 1.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        if closure is not None:
            raise NotImplementedError("Muon takes no closure.")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        gradient = weight.grad + group["weight_decay"] * weight
        state = self.state[weight]
        momentum = state.setdefault("momentum", torch.zeros_like(weight))
        momentum.mul_(group["momentum"]).add_(gradient)
        update = gradient.add(momentum, alpha=group["momentum"])
        if group["orthogonal"]:
            weight.mul_(len(weight) ** 0.5 / weight.norm())
            update = orthogonalise(update.flatten(1)).view_as(update)
        weight.sub_(update, alpha=group["lr"] * group["share"])


def orthogonalise(matrix: Tensor) -> Tensor:
    """Approximate the nearest semi-orthogonal matrix by a Newton-Schulz iteration.

    It computes in bfloat16, or in float32 on a CPU whose products in bfloat16 are slow.

    Args:
        matrix: float R x C, not zero.

    Returns:
        R x C in the matrix's dtype; singular values lie near 1.
    """
    a, b, c = COEFFICIENTS
    dtype = torch.bfloat16 if matrix.is_cuda or has_bf16() else torch.float32
    x = (matrix / (matrix.norm() + 1e-7)).to(dtype)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    result: Tensor = wide if x.shape[0] <= x.shape[1] else wide.T
    return result.to(matrix.dtype)
