"""The input of a foreign graph, and the pixel values that its framework feeds it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from artifacts.errors import ArtifactError
from artifacts.graph import INPUT
from artifacts.imports.edits import constant, fresh, rename
from artifacts.input_policy import Normalisation
from artifacts.preprocessing import SCALES

Layout = Literal["nchw", "nhwc"]
DTYPES: dict[int, Literal["float32", "float16", "float64", "uint8"]] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.UINT8: "uint8",
}
LUMA = np.array([[19595], [38470], [7471]], np.float32)
"""Weights of R, G and B in Pillow's conversion to grey, in units of 1/65536."""


@dataclass(frozen=True)
class ForeignInput:
    """What a foreign graph takes."""

    name: str
    element: int
    """A key of `DTYPES`."""
    layout: Layout
    """Order of the values. A graph of one channel may lack the axis of channels."""
    rank: int
    """4, 3 (pictures of one channel, without that axis) or 2 (pictures as rows of values)."""
    channels: int
    """1 or 3."""
    batch: int | None
    """Number of pictures at a time; None is any number."""
    size: tuple[int | None, int | None]
    """Height and width in pixels; None is any."""

    @property
    def dtype(self) -> Literal["float32", "float16", "float64", "uint8"]:
        """Type of its values."""
        return DTYPES[self.element]


def describe(
    graph: onnx.GraphProto, layout: Layout | None, size: tuple[int, int] | None
) -> ForeignInput:
    """Find out what a graph takes.

    Args:
        graph: a graph without weights among its inputs.
        layout: order of the axes, for graphs whose shape does not tell.
        size: (height, width) in pixels, needed if pictures are rows of values.

    Raises:
        ArtifactError: the graph has not exactly one input, or an input that is no picture; or
            `layout` or `size` is needed, or contradicts it.
    """
    if len(graph.input) != 1:
        names = ", ".join(repr(value.name) for value in graph.input)
        raise ArtifactError(
            f"the model has {len(graph.input)} inputs{f' ({names})' if names else ''}; export it "
            "with exactly one, the pictures."
        )
    value = graph.input[0]
    tensor = value.type.tensor_type
    if tensor.elem_type not in DTYPES:
        raise ArtifactError(
            f"input {value.name!r} has values of type "
            f"{TensorProto.DataType.Name(tensor.elem_type)}; accepted are "
            f"{', '.join(DTYPES.values())}. Export the model with one of these."
        )
    if tensor.HasField("shape"):
        dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    else:
        dims = [None] * 4
    if len(dims) == 4:  # noqa: PLR2004
        found, channels = _order(value.name, dims, layout)
        height, width = dims[2:] if found == "nchw" else dims[1:3]
    elif len(dims) == 3 and 3 not in (dims[0], dims[2]):  # noqa: PLR2004
        found, channels, (height, width) = "nhwc", 1, dims[1:]
    elif len(dims) == 2:  # noqa: PLR2004
        if size is None:
            raise ArtifactError(
                f"input {value.name!r} has shape {_shape(dims)}: pictures as rows of values. Give "
                "the size of the pictures with --size HEIGHTxWIDTH."
            )
        found, channels = _row_order(value.name, dims, layout, size)
        height, width = size
    else:
        raise ArtifactError(
            f"input {value.name!r} has shape {_shape(dims)}; expected N x 3 x H x W, "
            "N x H x W x 3, one channel in place of 3, N x H x W for grey, or rows of "
            "values N x D. Export the model so."
        )
    if dims[0] is not None and dims[0] > 1:
        raise ArtifactError(
            f"the graph takes exactly {dims[0]} pictures at a time; export it with a dynamic batch "
            "size, or with batch size 1."
        )
    return ForeignInput(
        name=value.name,
        element=tensor.elem_type,
        layout=found,
        rank=len(dims),
        channels=channels,
        batch=dims[0],
        size=(height, width),
    )


def put_front(
    graph: onnx.GraphProto,
    foreign: ForeignInput,
    normalisation: Normalisation,
    size: tuple[int, int] | None,
) -> None:
    """Make the graph take uint8 N x H x W x 3 RGB, called `images`.

    Colours are ordered, values are scaled and normalised, and axes are transposed in front of it.

    Args:
        graph: changed in place; no tensor of it is called `images`.
        foreign: its input.
        normalisation: what it expects.
        size: (height, width) that the new input declares; None declares any size.
    """
    chain = _Chain(graph)
    if normalisation.colour_order == "grey":
        chain.cast(TensorProto.FLOAT)
        chain.add("MatMul", LUMA)  # exact, because all sums are integers below 2 to the 24
        chain.add("Add", np.array(0x8000, np.float32))
        chain.add("Div", np.array(0x10000, np.float32))
        chain.add("Floor")
    elif normalisation.colour_order == "bgr":
        chain.add("Gather", np.array([2, 1, 0]), axis=3)
    if foreign.dtype == "float16":
        _look_up(chain, normalisation)
    elif foreign.dtype != "uint8":
        _normalise(chain, foreign, normalisation)
    if foreign.layout == "nchw":
        chain.add("Transpose", perm=[0, 3, 1, 2])
    chain.cast(foreign.element)
    if foreign.rank != 4:  # noqa: PLR2004
        chain.add("Reshape", np.array([0, -1] if foreign.rank == 2 else [0, 0, 0]))  # noqa: PLR2004
    rename(graph, foreign.name, chain.tensor)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*chain.nodes, *rest])
    del graph.input[:]
    shape = [foreign.batch or "N", *(size or ("H", "W")), 3]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))


class _Chain:
    """Nodes one after the other, the first of which takes uint8 N x H x W x 3."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._element = int(TensorProto.UINT8)
        self.tensor = INPUT
        """Name of the last output."""
        self.nodes: list[onnx.NodeProto] = []

    def add(self, op: str, operand: npt.NDArray[Any] | None = None, **attributes: Any) -> None:
        """Add a node that takes the last output, and `operand` as a weight."""
        number = len(self.nodes) + 1
        inputs = [self.tensor]
        if operand is not None:
            inputs.append(constant(self._graph, operand, f"vitrine_constant_{number}"))
        self.tensor = fresh(self._graph, f"vitrine_{op.lower()}_{number}")
        self.nodes.append(helper.make_node(op, inputs, [self.tensor], **attributes))

    def look_up(self, table: npt.NDArray[np.float16]) -> None:
        """Add a node that takes the values of `table` that the last output numbers."""
        values = constant(self._graph, table, "vitrine_table")
        indices, self.tensor = self.tensor, fresh(self._graph, "vitrine_looked_up")
        self.nodes.append(helper.make_node("Gather", [values, indices], [self.tensor]))
        self._element = TensorProto.FLOAT16

    def cast(self, element: int) -> None:
        """Convert the values, unless they have the type already."""
        if element != self._element:
            self.add("Cast", to=element)
            self._element = element


def _look_up(chain: _Chain, normalisation: Normalisation) -> None:
    """Take normalised float16 values from a table of all 256 values of each channel.

    ONNX Runtime computes float16 graphs in float32 on CPUs, and removes a conversion to float16
    that it finds between two float32 operators. The values of a table stay rounded, as the network
    gets them from its own framework.
    """
    factor, offset = _linear(normalisation)
    values = np.arange(256)[None] * factor[:, None] + offset[:, None]  # (C, 256)
    chain.cast(TensorProto.INT32)
    chain.add("Add", np.arange(0, values.size, 256, dtype=np.int32))
    chain.look_up(values.astype(np.float16).ravel())


def _linear(
    normalisation: Normalisation,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return `(x / divisor - shift - mean) / std` as a factor and an offset for each channel."""
    divisor, shift = SCALES[normalisation.scale]
    std = np.array(normalisation.std)
    return 1 / (divisor * std), -(shift + np.array(normalisation.mean)) / std


def _normalise(chain: _Chain, foreign: ForeignInput, normalisation: Normalisation) -> None:
    """Add the normalisation as one multiplication and one addition."""
    element = TensorProto.DOUBLE if foreign.dtype == "float64" else TensorProto.FLOAT
    chain.cast(element)
    kind = helper.tensor_dtype_to_np_dtype(element)
    factor, offset = _linear(normalisation)
    if np.any(factor != 1):
        chain.add("Mul", factor.astype(kind))
    if np.any(offset != 0):
        chain.add("Add", offset.astype(kind))


def _order(name: str, dims: list[int | None], layout: Layout | None) -> tuple[Layout, int]:
    """Return the order of four axes, and the number of channels."""
    possible: dict[Layout, int | None] = {"nchw": dims[1], "nhwc": dims[3]}
    if layout is not None:
        channels = possible[layout]
        if channels not in (None, 1, 3):
            raise ArtifactError(
                f"input {name!r} has shape {_shape(dims)}, which has {channels} channels in the "
                f"order {layout}; accepted are 3 (colour) and 1 (grey)."
            )
        return layout, channels or 3
    fitting = [(order, count) for order, count in possible.items() if count in (1, 3)]
    if len(fitting) == 1:
        order, count = fitting[0]
        return order, count or 3
    if not fitting and None not in possible.values():
        raise ArtifactError(
            f"input {name!r} has shape {_shape(dims)}; expected N x C x H x W or N x H x W x C "
            "with C of 3 (colour) or 1 (grey). Export the model so."
        )
    raise ArtifactError(
        f"input {name!r} has shape {_shape(dims)}, which does not tell where the channels are; "
        "give --layout nchw or --layout nhwc."
    )


def _row_order(
    name: str, dims: list[int | None], layout: Layout | None, size: tuple[int, int]
) -> tuple[Layout, int]:
    """Return the order of the values in a row, and the number of channels."""
    pixels = size[0] * size[1]
    if dims[1] not in (None, pixels, 3 * pixels):
        raise ArtifactError(
            f"input {name!r} takes rows of {dims[1]} values, but pictures of {size[0]}x{size[1]} "
            f"have {pixels} (grey) or {3 * pixels} (colour); give another --size."
        )
    if dims[1] == pixels:
        return "nhwc", 1
    if layout is None:
        raise ArtifactError(
            f"input {name!r} has shape {_shape(dims)}, which does not tell how the values of three "
            "channels are ordered; give --layout nhwc (pixel by pixel) or --layout nchw (one "
            "channel after the other)."
        )
    return layout, 3


def _shape(dims: list[int | None]) -> str:
    return " x ".join("?" if dim is None else str(dim) for dim in dims)
