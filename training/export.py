"""Exports a trained network as ONNX and checks that the graph gives the same answers."""

import ast
import contextlib
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from artifacts import InputPolicy, Runtime, VitrineError
from artifacts.manifest import Task
from artifacts.sessions import cpu_session
from training.networks import Classifier
from training.same_padding import OPERATOR_SET, same_padding_as_attribute

TOLERANCE = 1e-4
"""Maximum difference of an output, relative to its largest value if that exceeds 1. It allows for
another order of float32 additions, so that both sides must compute in float32: TF32 and bfloat16
alone make differences of 3e-4 to 2e-2."""
PRODUCTS = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)  # type: ignore[attr-defined]
"""What computes the products of matrices and of convolutions on the CPU."""


class ExportError(VitrineError):
    """The exported graph does not give the same answers as the network."""


class NotFiniteError(ExportError):
    """The network itself is useless, so that exporting it again cannot help."""


class Served(nn.Module):
    """The network as it is served, from pixels to named outputs.

    Args:
        network: Trained network, in evaluation mode.
        mean: Mean per channel of pictures scaled to 0..1.
        std: Standard deviation per channel of pictures scaled to 0..1.
        task: For classification the outputs are logits N x C and features N x D; for embedding the
            only output is that of the trunk, N x D, without the head.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        network: Classifier,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        task: Task = "classification",
    ) -> None:
        super().__init__()
        self.network = network
        self.names = ("embedding",) if task == "embedding" else ("logits", "features")
        self.register_buffer("shift", torch.tensor(mean) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(std) * 255))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 N x H x W x 3 -> outputs in the order of `names`."""
        pixels = (images.float() - self.shift) * self.scale
        features = self.network.trunk(pixels.permute(0, 3, 1, 2))  # (N, D)
        return (self.network.head(features), features) if len(self.names) > 1 else (features,)


def export(served: Served, policy: InputPolicy) -> bytes:
    """Serialize as ONNX with dynamic batch size, and dynamic height and width unless fixed.

    Args:
        served: The network, on any device and in any precision; it is moved to the CPU and
            converted to float32, in place.
        policy: How pictures become its input.

    Raises:
        ExportError: The graph's answers differ from the network's by more than `TOLERANCE`.
    """
    dim = torch.export.Dim
    shapes: dict[int, object] = {0: dim.DYNAMIC}
    if policy.fixed_size is None:
        shapes |= {1: dim.DYNAMIC, 2: dim.DYNAMIC}
    height, width = policy.fixed_size or (
        40,
        48,
    )  # an unusual size, so that the exporter does not specialise on it
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    with (
        in_single_precision(served),
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        same_padding_as_attribute(served),
        _out_of_place(served),
    ):
        # the exporter warns about its own internals
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            served,
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPERATOR_SET,
            input_names=["images"],
            output_names=list(served.names),
            dynamic_shapes=(shapes,),
            verbose=False,
        )
        path = Path(folder) / "model.onnx"
        if program is None:
            raise ExportError("torch.onnx.export returned no program.")
        program.save(path, external_data=False)
        graph = tidy(onnx.load(path)).SerializeToString()
    compare(served, graph, policy)
    return graph


@contextlib.contextmanager
def in_single_precision(network: nn.Module) -> Iterator[None]:
    """Let a network compute on the CPU, in float32 as IEEE 754 defines it.

    Whatever training has set does not count: the network is moved to the CPU, converted to float32
    and put into evaluation mode, which lasts; automatic mixed precision is off; and products are
    not computed in TF32 or bfloat16, which `torch.set_float32_matmul_precision` allows on some CPUs
    as well.
    """
    network.to("cpu", torch.float32).eval()
    before = [product.fp32_precision for product in PRODUCTS]
    for product in PRODUCTS:
        product.fp32_precision = "ieee"
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        for product, precision in zip(PRODUCTS, before, strict=True):
            product.fp32_precision = precision


@contextlib.contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """While exporting, let no activation overwrite its input.

    The graph is the same, and the exporter takes half as long to make it.
    """
    overwriting = [m for m in module.modules() if vars(m).get("inplace")]
    for each in overwriting:
        vars(each)["inplace"] = False
    try:
        yield
    finally:
        for each in overwriting:
            vars(each)["inplace"] = True


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Name the nodes after their modules and remove the exporter's metadata, both in place.

    The metadata holds stack traces with paths of the machine that trained the network.
    """
    graph = model.graph
    places = [_module_of(node) for node in graph.node]
    nodes = Counter(places)
    for node, place in zip(graph.node, places, strict=True):
        if place:
            node.name = place if nodes[place] == 1 else f"{place}.{node.name}"
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _module_of(node: onnx.NodeProto) -> str:
    """Return the path of the innermost module that a node was traced in; empty if unknown."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    inside = [scope for scope in scopes if scope.startswith("network.")]
    return inside[-1].removeprefix("network.") if inside else ""


@torch.inference_mode()
def compare(served: Served, graph: bytes, policy: InputPolicy) -> float:
    """Compare every output of network and graph on random pictures.

    Both compute in float32 on the CPU: the network as in `in_single_precision`, and the graph on
    ONNX Runtime's CPU provider, also on a machine with a GPU. How the answers on a GPU compare is
    another question; see `artifacts.agreement`.

    Returns:
        The maximum difference of all outputs, as `TOLERANCE` defines it.

    Raises:
        ExportError: It exceeds `TOLERANCE`, or an output is NaN or infinite.
    """
    runtime = Runtime(graph, policy, engine=cpu_session)
    random = np.random.default_rng(0)
    sizes = [policy.fixed_size] if policy.fixed_size else [(32, 32), (20, 32), (45, 31), (64, 64)]
    worst, where = 0.0, served.names[0]
    for height, width in sizes:
        pixels = random.integers(0, 256, (4, height, width, 3), dtype=np.uint8)
        actual = runtime.run_batch(pixels)
        with in_single_precision(served):
            outputs = served(torch.from_numpy(pixels))
        for name, output in zip(served.names, outputs, strict=True):
            expected = output.numpy()
            if not (np.isfinite(expected).all() and np.isfinite(actual[name]).all()):
                raise NotFiniteError(
                    f"the network returns NaN or infinity as {name}: its training diverged. "
                    "Nothing was written; lower the learning rate or choose another loss."
                )
            difference = np.abs(actual[name] - expected).max() / max(1, np.abs(expected).max())
            if difference > worst:
                worst, where = float(difference), name
    if not worst <= TOLERANCE:
        raise ExportError(
            f"graph and network differ by {worst:.2e} in {where}; at most {TOLERANCE} is allowed. "
            "Nothing was written."
        )
    return worst
