"""The exponential moving average of a network's weights."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Average(AveragedModel):
    """An average as torch's own computes it, of weights and buffers, for which no GPU waits.

    Args:
        model: The network whose weights are averaged; the average begins as a copy of it.
        decay: Share of the average that every update keeps, 0..1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self._begun = False

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Add the weights of `model`, which is the network given at first."""
        pairs = [
            (mine, cast("Tensor", theirs).detach())
            for mine, theirs in zip(
                [*self.module.parameters(), *self.module.buffers()],
                [*model.parameters(), *model.buffers()],
                strict=True,
            )
        ]
        # the counter is loaded from checkpoints; it is read until it counts, and never after that
        self._begun = self._begun or bool(self.n_averaged > 0)
        fractions = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        counts = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]
        if not self._begun:
            for mine, theirs in pairs:
                mine.copy_(theirs)
        else:
            torch._foreach_lerp_(*map(list, zip(*fractions, strict=True)), 1 - self.decay)
            for mine, theirs in counts:
                mine.copy_(mine * self.decay + theirs * (1 - self.decay))
        self.n_averaged += 1
