"""Networks of timm and torchvision, of which a chosen part is trained and the rest is frozen.

Frozen means frozen: no gradients, and evaluation mode, so that batch-norm statistics stay as well.
"""

from typing import Any, Literal

import timm
import torch
import torchvision
from timm.models import group_parameters
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from training.networks.weights import load_weights
from training.recipe import RecipeError

Library = Literal["timm", "torchvision"]


def backbone(
    model: str,
    library: Library = "timm",
    weights: str = "none",
    sha256: str | None = None,
    train: str | list[str] = "all",
    arguments: dict[str, Any] | None = None,
    hidden: int = 0,
    dropout: float = 0.0,
    answer: Literal["average", "class"] = "average",
    classes: int = 10,
) -> tuple[nn.Module, nn.Module]:
    """Build trunk and head; a head is always trained.

    Args:
        model: as the library names it, such as resnet50.
        library: timm or torchvision.
        weights: imagenet, package, none or a path, as `load_weights` takes them.
        sha256: of the file of weights.
        train: what trains besides the head: head (nothing), last-block or last-stage (by timm's
            own grouping of layers, final norms included), all, or names of modules.
        arguments: passed on to the library, such as img_size.
        hidden: width of an ELU layer in the head; 0 for a linear head.
        dropout: share dropped before the last layer of the head.
        answer: of networks with two heads, the mean of both (as their authors do), or the class
            head alone.
        classes: width of the output.

    Raises:
        RecipeError: unknown library, network or module.
    """
    trunk = Backbone(_headless(model, library, arguments or {}), (library, model, weights, sha256))
    trunk.freeze(train)
    width = trunk.width
    if trunk.tokens == 1:
        return trunk, _head(width, classes, hidden, dropout)
    heads = [_head(width, classes, hidden, dropout) for _ in range(trunk.tokens)]
    return trunk, Heads(heads, average=answer == "average")


class Backbone(nn.Module):
    """A library's network without its classifier.

    Args:
        model: N x 3 x H x W, normalised -> N x D.
        origin: library, name, source of weights and sha256, as `load_weights` takes them.
    """

    def __init__(self, model: nn.Module, origin: tuple[str, str, str, str | None]) -> None:
        super().__init__()
        self.model = model
        self._origin = origin
        self.tokens = 2 if isinstance(model, VisionTransformerDistilled) else 1

    @property
    def width(self) -> int:
        """Features per head, D."""
        return int(self.model.num_features)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W -> N x D; class and distillation token side by side, N x 2D, where both."""
        if self.tokens == 1:
            features: Tensor = self.model(images)
            return features
        tokens: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        return tokens[:, : self.tokens].flatten(1)  # (N, T, D) -> (N, 2 D)

    def initialise(self, _images: Tensor) -> None:
        """Fill in the weights that the recipe names.

        Raises:
            WeightsError: they are not at hand, damaged, or of another network.
        """
        library, name, source, sha256 = self._origin
        load_weights(self.model, library, name, source, sha256)

    def freeze(self, train: str | list[str]) -> None:
        """Let the weights named by `train` alone require gradients.

        Raises:
            RecipeError: a module is not in the network, or it has no groups to choose the last of.
        """
        chosen = _chosen(self.model, train)
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(name in chosen)

    def train(self, mode: bool = True) -> "Backbone":  # noqa: FBT002  as torch declares it
        """Set training mode where every weight trains; all the rest stays in evaluation mode."""
        super().train(mode=False)
        if mode:
            for module in self.modules():
                weights = [w.requires_grad for w in module.parameters()]
                if weights and all(weights):
                    for part in module.modules():
                        part.training = True
        return self


class Heads(nn.Module):
    """One head per token.

    Args:
        heads: each N x D -> N x C.
        average: answer with the mean of the heads' logits rather than with the first one's.
    """

    def __init__(self, heads: list[nn.Module], *, average: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.average = average

    def forward(self, features: Tensor) -> Tensor:
        """N x (K D) -> N x K x C in training, where each head has a loss of its own; else N x C."""
        parts = features.chunk(len(self.heads), 1)
        logits = torch.stack([h(part) for h, part in zip(self.heads, parts, strict=True)], 1)
        if self.training:
            return logits
        return logits.mean(1) if self.average else logits[:, 0]


def _head(width: int, classes: int, hidden: int, dropout: float) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(width, hidden), nn.ELU()] if hidden else []
    if dropout:
        layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(hidden or width, classes))
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]


def _headless(name: str, library: str, arguments: dict[str, Any]) -> nn.Module:
    """A library's network with fresh weights that ends in its pooled features."""
    if library == "timm":
        if not timm.is_model(name):
            raise RecipeError(f"timm has no network {name!r}; timm.list_models() names them all.")
        found: nn.Module = timm.create_model(name, num_classes=0, **arguments)
        return found
    if library != "torchvision":
        raise RecipeError(f"library {library!r} is unknown; there are: timm, torchvision.")
    if name not in torchvision.models.list_models(torchvision.models):
        raise RecipeError(f"torchvision has no classifier {name!r}.")
    model: Any = torchvision.models.get_model(name, **arguments).eval()
    for head in ("fc", "classifier", "heads", "head"):
        if hasattr(model, head):
            setattr(model, head, nn.Identity())
    if hasattr(model, "avgpool"):
        model.avgpool = nn.AdaptiveAvgPool2d(1)  # VGG's 7 x 7 pooling ties it to a huge classifier
    with torch.no_grad():
        probe = torch.zeros(1, 3, 224, 224, device=next(model.parameters()).device)
        model.num_features = model(probe).shape[1]
    headless: nn.Module = model
    return headless


def _chosen(model: nn.Module, train: str | list[str]) -> set[str]:
    """Names of the weights that train."""
    names = [name for name, _ in model.named_parameters()]
    if train == "all":
        return set(names)
    if train == "head":
        return set()
    if train in ("last-block", "last-stage"):
        return _last_group(model, coarse=train == "last-stage")
    modules = [train] if isinstance(train, str) else train
    unknown = [m for m in modules if not any(n.startswith(f"{m}.") for n in names)]
    if unknown:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
        raise RecipeError(
            f"network.options.train: no module {unknown[0]!r} with weights; give head, last-block, "
            f"last-stage, all, or names below: {parts}."
        )
    return {name for name in names if name.startswith(tuple(f"{m}." for m in modules))}


def _last_group(model: nn.Module, *, coarse: bool) -> set[str]:
    if not hasattr(model, "group_matcher"):
        raise RecipeError("torchvision does not group layers; name the modules to train.")
    groups = group_parameters(model, model.group_matcher(coarse=coarse))  # type: ignore[operator]
    sizes = {name: weight.ndim for name, weight in model.named_parameters()}
    chosen: set[str] = set()
    for _, names in sorted(groups.items(), reverse=True):
        chosen |= set(names)
        if any(sizes[name] > 1 for name in names):  # a final norm alone is not a block
            break
    return chosen
