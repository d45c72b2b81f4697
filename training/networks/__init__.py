"""The networks, by name. Each maps normalised pictures to features and features to logits."""

from importlib import import_module
from types import ModuleType

from torch import Tensor, nn

from training.recipe import RecipeError
from training.settings import Network

NAMES = ("backbone", "blocks", "embedder", "fast", "ladder", "mlp", "truncated")
"""Modules of this package. Each has a function of the same name that builds trunk and head. They
are imported on first use, because importing timm alone takes seconds."""


class Classifier(nn.Module):
    """A trunk that computes features and a head that computes logits from them.

    Args:
        trunk: N x 3 x H x W, normalised -> N x D.
        head: N x D -> N x C.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W -> logits N x C."""
        logits: Tensor = self.head(self.trunk(images))
        return logits

    def initialise(self, images: Tensor) -> None:
        """Initialise the trunk if its first weights are read from a file or computed from pictures.

        Args:
            images: N x 3 x H x W, normalised.
        """
        initialise = getattr(self.trunk, "initialise", None)
        if initialise is not None:
            initialise(images)


def build(network: Network, classes: int) -> Classifier:
    """Build a network with random weights drawn from torch's global generator.

    Raises:
        RecipeError: The name or an option is unknown.
    """
    builder = getattr(_module(network), network.name)
    try:
        trunk, head = builder(classes=classes, **network.options)
    except TypeError as error:
        raise RecipeError(f"network {network.name!r}: {error}") from None
    return Classifier(trunk, head)


def parameter_counts(module: nn.Module) -> tuple[int, int]:
    """Return the numbers of (all, trainable) weights."""
    weights = list(module.parameters())
    return sum(w.numel() for w in weights), sum(w.numel() for w in weights if w.requires_grad)


def _module(network: Network) -> ModuleType:
    if network.name not in NAMES:
        known = ", ".join(NAMES)
        raise RecipeError(f"network {network.name!r} is unknown; choose one of: {known}.")
    return import_module(f"training.networks.{network.name}")
