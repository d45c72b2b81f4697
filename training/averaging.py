"""The exponential moving average of a network's weights."""

from itertools import compress

import torch
from torch import nn
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
        mine = [w.detach() for w in (*self.module.parameters(), *self.module.buffers())]
        theirs = [w.detach() for w in (*model.parameters(), *model.buffers())]
        # the counter is loaded from checkpoints; it is read until it counts, and never after that
        self._begun = self._begun or bool(self.n_averaged > 0)
        if self._begun:
            fractions = [w.is_floating_point() for w in mine]
            torch._foreach_lerp_(
                list(compress(mine, fractions)), list(compress(theirs, fractions)), 1 - self.decay
            )
        for average, now in zip(mine, theirs, strict=True):
            if not self._begun:
                average.copy_(now)
            elif not average.is_floating_point():
                average.copy_(average * self.decay + now * (1 - self.decay))
        self.n_averaged += 1
