"""Cuts a network before the first layer that trains, along its data flow (torch.fx).

The *prefix* holds every operation that depends only on pictures and frozen weights. Its outputs are
the boundary tensors, from which the *suffix* computes the logits. A DenseNet has as many boundary
tensors as its remaining concatenations read.
"""

import math
from itertools import starmap
from typing import Any

import torch
from torch import Tensor, fx, nn

from training.networks import Classifier
from training.recipe import RecipeError

Values = dict[fx.Node, Any]
CALLS = ("call_function", "call_method")


class Suffix(nn.Module):
    """The part of a network behind its frozen prefix, sharing the network's weights.

    Args:
        network: The whole network.
        graph: Maps boundary tensors to logits.
    """

    def __init__(self, network: Classifier, graph: fx.GraphModule) -> None:
        super().__init__()
        self.network = network
        self.graph = graph

    def forward(self, *boundary: Tensor) -> Tensor:
        """Return the logits for boundary tensors, N x ... each."""
        logits: Tensor = self.graph(*boundary)
        return logits

    def train(self, mode: bool = True) -> "Suffix":  # noqa: FBT002  as torch declares it
        """Set the mode of the network, which itself keeps its frozen layers in evaluation mode."""
        self.network.train(mode)
        return self


def cut(network: Classifier, images: Tensor) -> tuple[fx.GraphModule, Suffix]:
    """Cut a network at its first trainable layer.

    Args:
        network: Network whose trunk is partly frozen and whose head trains.
        images: At least two normalised pictures of the size used in training, N x 3 x H x W.

    Returns:
        The prefix, which maps images to a tuple of boundary tensors, and the suffix, which maps
        boundary tensors to logits.

    Raises:
        RecipeError: Nothing is frozen, or torch.fx cannot trace the network.
    """
    try:
        graph = _Tracer().trace(network)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise RecipeError(
            f"the network cannot be cut into a frozen and a trained part ({reason}); remove "
            "`cache` from the recipe."
        ) from None
    frozen = _frozen(graph, network)
    one, two = (_values(network, graph, frozen, images[:n]) for n in (1, 2))
    boundary, numbers = _boundary(graph, network, frozen, one, two)
    if any(node.op == "placeholder" for node in boundary):
        raise RecipeError(
            "the network has no frozen layer before the first one that trains; remove `cache` from "
            "the recipe."
        )
    prefix = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node in frozen:
            copies[node] = prefix.node_copy(node, copies.__getitem__)
    prefix.output(tuple(copies[node] for node in boundary))
    suffix = _suffix(graph, boundary, numbers)
    return _module(network, prefix), Suffix(network, _module(network, suffix))


class _Tracer(fx.Tracer):
    """Traces only into modules that are partly frozen; all others stay one operation."""

    def is_leaf_module(self, m: nn.Module, _name: str) -> bool:
        return len({weight.requires_grad for weight in m.parameters()}) < 2  # noqa: PLR2004


def _frozen(graph: fx.Graph, network: nn.Module) -> set[fx.Node]:
    """Return the operations whose results do not depend on a trainable weight."""
    frozen: set[fx.Node] = set()
    for node in graph.nodes:
        weights: list[nn.Parameter] = []
        if node.op == "call_module":
            weights = list(network.get_submodule(str(node.target)).parameters())
        elif node.op == "get_attr":
            weights = [_attribute(network, str(node.target))]
        trains = any(weight.requires_grad for weight in weights)
        if node.op != "output" and not trains and frozen.issuperset(node.all_input_nodes):
            frozen.add(node)
    return frozen


def _attribute(network: nn.Module, target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(network.get_submodule(module), name)


@torch.no_grad()
def _values(network: nn.Module, graph: fx.Graph, frozen: set[fx.Node], images: Tensor) -> Values:
    """Compute the result of every frozen operation for these pictures."""
    values: Values = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            if n not in frozen:
                return None
            values[n] = super().run_node(n)
            return values[n]

    network.eval()
    Recorder(fx.GraphModule(network, graph), garbage_collect_values=False).run(images)
    return values


def _boundary(
    graph: fx.Graph, network: nn.Module, frozen: set[fx.Node], one: Values, two: Values
) -> tuple[list[fx.Node], Values]:
    """Choose the frozen operations whose results are boundary tensors, in order.

    An operation without weights is recomputed in the suffix if its inputs are smaller than its
    result. This applies to DenseNet's concatenations of tensors that cross the boundary anyway.

    Args:
        graph: The traced network.
        network: The network.
        frozen: Operations that do not depend on a trainable weight.
        one: Their results for one picture.
        two: Their results for two pictures.

    Returns:
        The operations, and the constant numbers, such as shapes, that the suffix needs.
    """
    recomputed: set[fx.Node] = {node for node in graph.nodes if node.op == "get_attr"}
    while True:
        needed = {
            source
            for node in graph.nodes
            if node not in frozen or node in recomputed
            for source in node.all_input_nodes
            if source in frozen and source not in recomputed
        }
        fixed = {node: _numbers(one[node], two[node]) for node in needed if _is_numeric(one[node])}
        needed -= set(fixed)
        sizes = {node: _floats_per_picture(one[node], two[node]) for node in frozen}
        for node in needed:
            cost = sum(
                sizes[source]
                for source in node.all_input_nodes
                # numbers such as a shape are never stored; weights are read from the network
                if source not in needed and source.op != "get_attr" and not _is_numeric(one[source])
            )
            weightless = node.op in CALLS or (
                node.op == "call_module"
                and not list(network.get_submodule(str(node.target)).parameters())
            )
            if weightless and cost < sizes[node]:
                recomputed.add(node)
                break
        else:
            return [node for node in graph.nodes if node in needed], fixed


def _is_numeric(value: object) -> bool:
    """Return whether a value is a number or a tuple of numbers, such as a shape."""
    parts = value if isinstance(value, tuple) else (value,)
    return all(isinstance(part, int | float) for part in parts)


def _numbers(one: Any, two: Any) -> Any:
    """Return a number or tuple of numbers, with None in place of the number of pictures."""
    if isinstance(one, tuple):
        return tuple(starmap(_numbers, zip(one, two, strict=True)))
    return one if one == two else None


def _floats_per_picture(one: object, two: object) -> float:
    """Return the number of floats to store per picture; inf if a value has no row per picture."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        by_picture = one.ndim > 0 and (one.shape[0], two.shape[0]) == (1, 2)
        return one.numel() if by_picture else math.inf
    return math.inf


def _suffix(graph: fx.Graph, boundary: list[fx.Node], numbers: Values) -> fx.Graph:
    suffix = fx.Graph()
    copies: dict[fx.Node, Any] = {}
    for place, node in enumerate(boundary):
        copies[node] = suffix.placeholder(f"boundary_{place}")
    count = suffix.call_method("size", (copies[boundary[0]], 0))
    for node, value in numbers.items():
        parts = value if isinstance(value, tuple) else (value,)
        filled = tuple(count if part is None else part for part in parts)
        copies[node] = filled if isinstance(value, tuple) else filled[0]
    for node in graph.nodes:
        known = all(source in copies for source in node.all_input_nodes)
        if node not in copies and known and node.op != "placeholder":
            copies[node] = suffix.node_copy(node, copies.__getitem__)
    return suffix


def _module(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    module = fx.GraphModule(network, graph)
    graph = module.graph
    graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module
