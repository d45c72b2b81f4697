"""Muon: momentum whose matrices are made orthogonal before they are applied."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# quintic whose iteration pulls singular values in 0..1 towards 1 the fastest (Jordan et al. 2024)
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 3


class Muon(Optimizer):
    """SGD with Nesterov momentum; updates of convolution weights are orthogonalised.

    Written for convolutions that batch-norm follows: what they compute does not depend on their
    scale, so each is kept at norm sqrt(outputs) and the rate alone decides how far it turns.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    Args:
        groups: parameters. A group with `orthogonal` True holds convolution weights of rank 4;
            other groups get plain SGD with Nesterov momentum and L2 `weight_decay`.
        lr: learning rate; each group's `share` (default 1) is multiplied in.
        momentum: of the running mean of gradients.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0}
        super().__init__(groups, {**defaults, "share": 1.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        if closure is not None:
            raise NotImplementedError("Muon takes no closure.")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
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
    """Nearest semi-orthogonal matrix, roughly, by a Newton-Schulz iteration in bfloat16.

    Args:
        matrix: float R x C, not zero.

    Returns:
        R x C in the matrix's dtype; singular values lie near 1.
    """
    a, b, c = COEFFICIENTS
    x = (matrix / (matrix.norm() + 1e-7)).bfloat16()
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    result: Tensor = wide if x.shape[0] <= x.shape[1] else wide.T
    return result.to(matrix.dtype)
