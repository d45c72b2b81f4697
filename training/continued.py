"""Networks that start from the weights of an artifact's graph.

The graph holds convolutions into which the batch normalisation behind them is folded. A network
that trains on needs the normalisation back: its statistics are measured on pictures, and its scale
and shift are set so that the network answers as the graph does. A normalisation that does not
follow a convolution is in the graph as it was trained.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.graph import load_graph
from training.half_precision import stored_weights
from training.networks import Classifier
from training.recipe import RecipeError

PREFIX = "network."
"""What the exporter puts before the names of a network's weights."""


@torch.inference_mode()
def copy_network(network: Classifier, artifact: Artifact, images: Tensor) -> None:
    """Copy all weights of an artifact's graph into a network, in place.

    Args:
        network: Has the same layers as the network that the graph was exported from.
        artifact: Its graph has the weights.
        images: Normalised pictures N x 3 x H x W, on which batch normalisation is measured.

    Raises:
        RecipeError: The graph has no weight of the network's shape for one of its layers.
    """
    model = load_graph(artifact.path / MODEL_FILE)
    stored = stored_weights(model)
    modules = dict(network.named_modules())
    norms = {name: m for name, m in modules.items() if isinstance(m, _BatchNorm)}
    left = {name for name, _ in network.named_parameters()}

    def fill(name: str, source: str) -> None:
        value, target = stored.get(source), network.get_parameter(name)
        if value is None or value.shape != tuple(target.shape):
            raise RecipeError(
                f"{artifact.name} has no weight {name!r} of shape {tuple(target.shape)}; "
                "continue_from needs a recipe with the same network and classes."
            )
        target.copy_(torch.from_numpy(value.astype(np.float32)))
        left.discard(name)

    for node in model.graph.node:
        if node.op_type == "Conv" and node.name in norms:
            fill(f"{node.name}.bias", node.input[2])
            nn.init.ones_(norms[node.name].weight)
            left.discard(f"{node.name}.weight")
        elif node.op_type == "BatchNormalization" and node.name in norms:
            scale, shift, mean, variance = node.input[1:5]
            fill(f"{node.name}.weight", scale)
            fill(f"{node.name}.bias", shift)
            statistics = (torch.tensor(stored[each]) for each in (mean, variance))
            _set_statistics(norms.pop(node.name), *statistics)
    for name in sorted(left):
        fill(name, f"{PREFIX}{name}")
    _normalise_again(network, norms, images)


def _normalise_again(network: Classifier, norms: dict[str, _BatchNorm], images: Tensor) -> None:
    """Measure the statistics of batch normalisations that are the identity, and undo their effect.

    Each of them scales by 1 at first, and keeps the shift that was folded into the convolution.
    """
    sums = {
        name: torch.zeros(2, norm.num_features, dtype=torch.float64) for name, norm in norms.items()
    }
    counts = dict.fromkeys(norms, 0)

    def measure(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].double().transpose(0, 1).flatten(1)  # (C, N H W)
            sums[name] += torch.stack([values.sum(1), values.square().sum(1)])
            counts[name] += values.shape[1]

        return hook

    for norm in norms.values():
        _set_statistics(norm, torch.zeros(()), torch.tensor(1 - norm.eps))
    handles = [norm.register_forward_pre_hook(measure(name)) for name, norm in norms.items()]
    network.eval()
    for batch in torch.split(images, 32):
        network(batch)
    for handle in handles:
        handle.remove()
    for name, norm in norms.items():
        mean, square = (sums[name] / counts[name]).float()
        variance = (square - mean.square()).clamp(min=0)
        _set_statistics(norm, mean, variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)


def _set_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    norm.get_buffer("running_mean").copy_(mean)
    norm.get_buffer("running_var").copy_(variance)
