"""Embeddings of faces: a backbone, a linear layer, and what the study or we put behind it."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.backbone import Backbone, backbone


def embedder(
    model: str,
    width: int = 512,
    *,
    relu: bool = False,
    normalise: bool = False,
    head: Literal["none", "cosine"] = "none",
    weights: str = "none",
    classes: int = 10,
) -> tuple[nn.Module, nn.Module]:
    """Build trunk and head. The trunk's output is the embedding; the head serves training alone.

    Args:
        model: a network of timm.
        width: D, numbers of an embedding.
        relu: end in a ReLU, as the study does; a number that is 0 for every picture is dead.
        normalise: scale embeddings to length 1.
        head: none: the embedding goes to the loss; cosine: its cosines to a centre per class do.
        weights: imagenet, package, none or a path, as `load_weights` takes them.
        classes: number of centres.

    Raises:
        RecipeError: unknown network.
    """
    trunk, _ = backbone(model, weights=weights)
    assert isinstance(trunk, Backbone)  # noqa: S101
    embedding = Embedding(trunk, width, relu=relu, normalise=normalise)
    return embedding, Cosine(width, classes) if head == "cosine" else nn.Identity()


class Embedding(nn.Module):
    """Pictures to embeddings.

    Args:
        trunk: N x 3 x H x W, normalised -> N x F.
        width: D.
        relu: as `embedder`.
        normalise: as `embedder`.
    """

    def __init__(self, trunk: Backbone, width: int, *, relu: bool, normalise: bool) -> None:
        super().__init__()
        self.backbone = trunk
        self.projection = nn.Linear(trunk.width, width)
        self.activation = nn.ReLU() if relu else nn.Identity()
        self.normalise = normalise

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W -> N x D."""
        embeddings: Tensor = self.activation(self.projection(self.backbone(images)))
        return F.normalize(embeddings.float()) if self.normalise else embeddings

    def initialise(self, images: Tensor) -> None:
        """As `Backbone.initialise`."""
        self.backbone.initialise(images)


class Cosine(nn.Module):
    """Cosines of the angles between embeddings and learned centres, one per class.

    Args:
        width: D.
        classes: C.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.normal_(self.weight, std=width**-0.5)  # of length 1, about: steps turn it

    def forward(self, embeddings: Tensor) -> Tensor:
        """N x D -> N x C, in -1..1."""
        with torch.autocast(embeddings.device.type, enabled=False):  # a margin is finer than bf16
            return F.linear(F.normalize(embeddings.float()), F.normalize(self.weight))
