"""Study 2: a CIFAR-10 convolutional net built rung by rung, up to global average pooling.

A block is conv 3x3 -> activation -> [batch-norm], twice, then max-pool 2 and [dropout]. As in the
study, batch-norm comes after the activation. The study's networks end in softmax; these end in
logits, which is what cross-entropy wants.
"""

from collections.abc import Callable

from torch import nn

from training.recipe import RecipeError

Activation = Callable[[], nn.Module]


def ladder(rung: str, classes: int = 10) -> tuple[nn.Module, nn.Module]:
    """Build one rung: A, B, C, D, E, F, G or GAP.

    All but GAP flatten, and so take pictures of 32 x 32 only.

    Raises:
        RecipeError: unknown rung.
    """
    if rung in ("A", "B"):
        width = 5 if rung == "A" else 20
        trunk: list[nn.Module] = [*_convs(3, width, width, nn.Sigmoid, norm=False)]
        return nn.Sequential(*trunk, nn.MaxPool2d(8), nn.Flatten()), nn.Linear(16 * width, classes)
    if rung in ("C", "D"):
        activation: Activation = nn.Sigmoid if rung == "C" else nn.ReLU
        trunk = [*_block(3, 20, activation), *_block(20, 40, activation)]
        return nn.Sequential(*trunk, nn.Flatten()), nn.Linear(2560, classes)
    if rung in ("E", "F", "G"):
        drops = (0.1, 0.2, 0.3, 0.4) if rung == "G" else (0.0,) * 4
        norm = rung != "E"
        trunk = []
        for before, after, drop in zip((3, 20, 40, 80), (20, 40, 80, 160), drops, strict=True):
            trunk += _block(before, after, nn.ReLU, norm=norm, drop=drop)
        return nn.Sequential(*trunk, nn.Flatten()), nn.Linear(640, classes)
    if rung == "GAP":
        trunk = []
        for before, after, drop in zip((3, 20, 40), (20, 40, 80), (0.1, 0.2, 0.3), strict=True):
            trunk += _block(before, after, nn.ReLU, norm=True, drop=drop)
        trunk += [*_convs(80, 160, 160, nn.ReLU, norm=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*trunk), nn.Sequential(nn.Dropout(0.4), nn.Linear(160, classes))
    raise RecipeError(f"rung {rung!r} is unknown; there are: A, B, C, D, E, F, G, GAP.")


def _block(
    before: int, after: int, activation: Activation, *, norm: bool = False, drop: float = 0.0
) -> list[nn.Module]:
    layers = [*_convs(before, after, after, activation, norm=norm), nn.MaxPool2d(2)]
    return [*layers, nn.Dropout(drop)] if drop else layers


def _convs(
    before: int, middle: int, after: int, activation: Activation, *, norm: bool
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in ((before, middle), (middle, after)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), activation()]
        if norm:
            layers.append(nn.BatchNorm2d(outputs))
    return layers
