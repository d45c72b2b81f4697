"""Counts exact zeros inside the served graph, by adding outputs to it.

Every activation gets a branch that ends in a small extra output: the share of values that are not
zero, per picture and channel. The feature maps themselves never leave the graph. An activation that
is hardly ever exactly zero, such as GELU, gets another output: the share of values nearer to zero
than `EPSILON`. The rest of the graph stays as it is, and so do its answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.pictures import Picture
from serving.inspection.activations import Activation, find_activations
from serving.schemas import Layer

WITH_ZEROS = frozenset({"Relu", "ThresholdedRelu", "Clip", "HardSigmoid", "HardSwish"})
"""Activations that are exactly zero on a whole range of inputs."""
NON_NEGATIVE = frozenset({"Relu", "Clip", "HardSigmoid", "Sigmoid", "Softplus"})
"""Activations whose values are never negative."""
EPSILON = 0.01
"""Values of the other activations count as small if they are nearer to zero than this."""

REDUCE_AXES_AS_INPUT = 18
"""First opset in which ReduceMean takes its axes as an input."""


Branch = tuple[list[onnx.NodeProto], list[TensorProto]]
"""Nodes, and the constants that they read."""


@dataclass(frozen=True)
class Tap:
    """An activation, and the extra outputs that describe it, each float32 N x C."""

    activation: Activation
    nonzero: str
    """Name of the output with the share of values that are not zero."""
    small: str | None
    """Name of the output with the share of values nearer to zero than `EPSILON`; None if the
    activation is exactly zero on a range of inputs."""

    @property
    def outputs(self) -> list[str]:
        """Names of its outputs."""
        return [self.nonzero] if self.small is None else [self.nonzero, self.small]


class Probe:
    """An artifact's graph with outputs for all activations, and its session.

    Args:
        artifact: a verified artifact.
        threads: number of ONNX Runtime threads within one call; 0 means one per core.

    Raises:
        ArtifactError: the rank of an activation cannot be inferred from the graph, or its file has
            changed since it was verified.
    """

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        graph = onnx.load_model_from_string(artifact.read_graph())
        model, self.taps = tap_activations(graph)
        self.runtime = Runtime(model.SerializeToString(), artifact.manifest.input, threads)

    def layers(self, pictures: Sequence[Picture]) -> tuple[Layer, ...]:
        """Return the shares of zeros and of small values for each activation.

        Args:
            pictures: uint8 H x W x 3, of any mix of sizes; each has the same weight.
        """
        if not self.taps:
            return ()
        found = self.runtime.run(pictures, [name for tap in self.taps for name in tap.outputs])
        return tuple(
            _layer(tap, found[tap.nonzero], found[tap.small] if tap.small else None)
            for tap in self.taps
        )


def tap_activations(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Tap, ...]]:
    """Add the outputs that `Tap` describes after each activation.

    Returns:
        A new model that keeps all outputs of `model`, and the taps in the order of the graph.

    Raises:
        ArtifactError: the rank of an activation cannot be inferred from the graph.
    """
    model = inline_local_functions(model)
    types = _types(model)
    opset = next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"})
    taps = {
        activation.tensor: Tap(
            activation,
            f"vitrine_nonzero_{number}",
            None if activation.operator in WITH_ZEROS else f"vitrine_small_{number}",
        )
        for number, activation in enumerate(find_activations(model.graph))
    }
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        tensor = node.output[0]
        if tensor not in taps:
            continue
        if tensor not in types:
            raise ArtifactError(
                f"the rank of {tensor!r} in the graph is unknown, so its zeros cannot be counted."
            )
        source = tensor
        if types[tensor].elem_type == TensorProto.FLOAT16:  # the branches compute in float32
            source = f"{taps[tensor].nonzero}_float32"
            nodes.append(helper.make_node("Cast", [tensor], [source], to=TensorProto.FLOAT))
        rank = len(types[tensor].shape.dim)
        for branch, constants in _branches(taps[tensor], source, rank, opset):
            nodes.extend(branch)
            model.graph.initializer.extend(constants)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", f"{name}_channels"])
        for tap in taps.values()
        for name in tap.outputs
    )
    return model, tuple(taps.values())


def _branches(tap: Tap, tensor: str, rank: int, opset: int) -> Iterator[Branch]:
    """Yield the nodes from a tapped float32 tensor (N x C x ... or N x T x C) to each output."""
    if tap.activation.operator in NON_NEGATIVE and rank > 3:  # noqa: PLR2004
        yield _share_without_cast(tensor, tap.nonzero)
    else:
        flags = f"{tap.nonzero}_flags"
        cast = helper.make_node("Cast", [tensor], [flags], to=TensorProto.BOOL)
        nodes, constants = _share(flags, tap.nonzero, rank, opset)
        yield [cast, *nodes], constants
    if tap.small is not None:
        size, flags, limit = (f"{tap.small}_{what}" for what in ("size", "flags", "limit"))
        nodes, constants = _share(flags, tap.small, rank, opset)
        compare = [
            helper.make_node("Abs", [tensor], [size]),
            helper.make_node("Less", [size, limit], [flags]),
        ]
        epsilon = numpy_helper.from_array(np.array(EPSILON, np.float32), limit)
        yield [*compare, *nodes], [epsilon, *constants]


def _share_without_cast(tensor: str, output: str) -> Branch:
    """Return nodes for the share of non-zeros of non-negative values, at half `_share`'s cost.

    A hard sigmoid with the largest slope of float32 is 0 at 0, and 1 at any normal positive number.
    """
    steep = float(np.finfo(np.float32).max)
    flags, means = f"{output}_flags", f"{output}_means"
    return [
        helper.make_node("HardSigmoid", [tensor], [flags], alpha=steep, beta=0.0),
        helper.make_node("GlobalAveragePool", [flags], [means]),
        helper.make_node("Flatten", [means], [output]),
    ], []


def _share(flags: str, output: str, rank: int, opset: int) -> Branch:
    """Return nodes from flags (N x C x ... or N x T x C) to the share that is true, N x C."""
    last = rank <= 2  # noqa: PLR2004 - N x C has nothing to average over
    numbers = output if last else f"{output}_numbers"
    cast = helper.make_node("Cast", [flags], [numbers], to=TensorProto.FLOAT)
    if last:
        return [cast], []
    # the tokens of transformers are in the middle: N x T x C
    axes = [1] if rank == 3 else list(range(2, rank))  # noqa: PLR2004
    if opset < REDUCE_AXES_AS_INPUT:
        reduce = helper.make_node("ReduceMean", [numbers], [output], axes=axes, keepdims=0)
        return [cast, reduce], []
    constant = numpy_helper.from_array(np.array(axes, np.int64), f"{output}_axes")
    reduce = helper.make_node("ReduceMean", [numbers, constant.name], [output], keepdims=0)
    return [cast, reduce], [constant]


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Return the type of every tensor whose type and rank ONNX can infer."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: value.type.tensor_type
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _layer(tap: Tap, nonzero: np.ndarray, small: np.ndarray | None) -> Layer:
    # (N, C), in float64: a channel with a single value that is not zero must stay below 1
    zeros = 1.0 - nonzero.astype(np.float64)
    by_channel = zeros.mean(axis=0)
    return Layer(
        name=tap.activation.name,
        operator=tap.activation.operator,
        channels=len(by_channel),
        zeros=float(by_channel.mean()),
        channel_zeros=tuple(by_channel.tolist()),
        small=None if small is None else float(small.mean(dtype=np.float64)),
    )
