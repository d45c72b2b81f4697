"""Embeddings of small pictures: the first stages of a mobile network, and learned pooling.

A face of about 100 px needs no stage whose outputs are 32 times coarser, and these hold most of the
weights. Pooling weights each position of the map, because the parts of an aligned face stay where
they are (MobileFaceNets, Chen et al. 2018, arXiv 1804.07573, section 3.1).
"""

import timm
import torch
import torch.nn.functional as F
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from training.networks.weights import load_weights
from training.recipe import RecipeError


def truncated(
    model: str,
    stages: int,
    channels: int = 256,
    side: int = 6,
    width: int = 128,
    *,
    weights: str = "none",
    classes: int = 10,  # noqa: ARG001  an embedding has none
) -> tuple[nn.Module, nn.Module]:
    """Build trunk and head. The trunk's output is the embedding; the head changes nothing.

    Args:
        model: an EfficientNet or MobileNet of timm.
        stages: number of its stages that are kept.
        channels: channels C of the map that is pooled.
        side: width and height of that map at the size of pictures that the network is meant for;
            at other sizes the weights of the positions are interpolated.
        width: D, numbers of an embedding.
        weights: imagenet, package, none or a path, as `load_weights` takes them.
        classes: unused.

    Raises:
        RecipeError: unknown network, one of another kind, or one with fewer stages.
    """
    if not timm.is_model(model):
        raise RecipeError(f"timm has no network {model!r}; timm.list_models() names them all.")
    whole = timm.create_model(model, num_classes=0)
    if not isinstance(whole, EfficientNet):
        raise RecipeError(
            f"network.options.model: {model} is neither an EfficientNet nor a MobileNet of timm, "
            "whose stages could be counted; tf_efficientnet_lite0 is one."
        )
    if not 1 <= stages <= len(whole.blocks):
        raise RecipeError(
            f"network.options.stages: {model} has 1 to {len(whole.blocks)} stages, not {stages}."
        )
    return Truncated(whole, (model, weights), stages, channels, side, width), nn.Identity()


class Truncated(nn.Module):
    """Pictures to embeddings.

    Args:
        whole: the network, of which the stem and the first stages are kept.
        origin: its name and the source of its weights, as `load_weights` takes them.
        stages: as `truncated`.
        channels: as `truncated`.
        side: as `truncated`.
        width: as `truncated`.
    """

    def __init__(
        self,
        whole: EfficientNet,
        origin: tuple[str, str],
        stages: int,
        channels: int,
        side: int,
        width: int,
    ) -> None:
        super().__init__()
        self._origin = origin
        self.conv_stem, self.bn1 = whole.conv_stem, whole.bn1
        self.blocks = whole.blocks[:stages]
        norms = [module for module in self.blocks.modules() if isinstance(module, nn.BatchNorm2d)]
        outputs = norms[-1].num_features
        self.conv_last = nn.Conv2d(outputs, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.position = nn.Parameter(torch.ones(channels, side, side))
        self.projection = nn.Linear(channels, width)
        nn.init.normal_(self.projection.weight, std=0.1 / channels)  # embeddings start near 0

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W -> N x D."""
        found = self.blocks(self.bn1(self.conv_stem(images)))  # (N, F, h, w)
        found = F.relu6(self.bn2(self.conv_last(found)))  # (N, C, h, w)
        weights, size = self.position[None], found.shape[2:]
        if size != weights.shape[2:]:
            weights = F.interpolate(weights, size=size, mode="bilinear", antialias=True)
        pooled: Tensor = self.projection((found.float() * weights).mean((2, 3)))
        return pooled

    def initialise(self, _images: Tensor) -> None:
        """Fill in the weights that the recipe names; the last layers stay random.

        Raises:
            WeightsError: they are not at hand, damaged, or of another network.
        """
        name, source = self._origin
        if source == "none":
            return
        whole = timm.create_model(name, num_classes=0)
        load_weights(whole, "timm", name, source, None)
        parts = ("conv_stem.", "bn1.", "blocks.")
        kept = {key for key in self.state_dict() if key.startswith(parts)}
        published = {key: value for key, value in whole.state_dict().items() if key in kept}
        self.load_state_dict(published, strict=False)
