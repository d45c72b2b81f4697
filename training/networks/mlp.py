"""Study 6: a multi-layer perceptron 784-100-50-10 for digits."""

from itertools import pairwise

from torch import Tensor, nn

from training.recipe import RecipeError

SIDE = 28
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
}


class Grey(nn.Module):
    """One grey value per pixel, in rows: the mean of the channels."""

    def forward(self, images: Tensor) -> Tensor:
        """N x 3 x H x W -> N x (H W)."""
        return images.mean(1).flatten(1)


def mlp(
    activation: str, hidden: tuple[int, ...] = (100, 50), dropout: float = 0.0, classes: int = 10
) -> tuple[nn.Module, nn.Module]:
    """Build the perceptron; features are what its last hidden layer gives.

    Args:
        activation: relu, leaky-relu or sigmoid.
        hidden: widths of the hidden layers.
        dropout: share of hidden values dropped in training; the study built it and left it out.
        classes: width of the output.

    Raises:
        RecipeError: unknown activation.
    """
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise RecipeError(f"activation {activation!r} is unknown; there are: {known}.")
    layers: list[nn.Module] = [Grey()]
    for before, after in pairwise((SIDE * SIDE, *hidden)):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers), nn.Linear(hidden[-1], classes)
