"""What foreign graphs take: axes, channels, types, sizes and numbers of pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from artifacts.pictures import Picture
from tests.artifacts.conftest import assert_refused
from tests.artifacts.imports.conftest import KEPT, SCALED, Import, Refuse
from tests.artifacts.imports.networks import (
    CLASSES,
    LOGITS,
    constant,
    network,
    node,
    own_answer,
    photos,
    scaled,
)

Inputs = npt.NDArray[Any]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SIZED = ("--resize", "squash", "--interpolation", "bicubic")


def grey(pictures: list[Picture]) -> Inputs:
    """Pillow's conversion to L: uint8 N x H x W."""
    return np.stack([np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures])


def nhwc() -> tuple[onnx.ModelProto, Inputs]:
    return network(nhwc=True), np.stack(photos()).astype(np.float32) / 255


def float16() -> tuple[onnx.ModelProto, Inputs]:
    return network(element=TensorProto.FLOAT16), scaled(photos()).astype(np.float16)


def float64() -> tuple[onnx.ModelProto, Inputs]:
    double = network(element=TensorProto.DOUBLE)
    convolution, pooling = double.graph.node[1], double.graph.node[3]
    assert (convolution.op_type, pooling.op_type) == ("Conv", "GlobalAveragePool")
    # ONNX Runtime has no convolution of doubles
    before = node("Cast", ["nchw"], "single", to=TensorProto.FLOAT)
    after = node("Cast", ["pooled32"], "pooled", to=TensorProto.DOUBLE)
    convolution.input[0] = "single"
    pooling.output[0] = "pooled32"
    double.graph.node.insert(1, before)
    double.graph.node.insert(5, after)
    weight = double.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), "w"))
    return double, np.stack(photos()).transpose(0, 3, 1, 2) / 255.0


def one_channel() -> tuple[onnx.ModelProto, Inputs]:
    return network(channels=1), grey(photos())[:, None].astype(np.float32) / 255


def without_channel() -> tuple[onnx.ModelProto, Inputs]:
    model = network(channels=1)
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 20, 30])
    )
    reshape = node("Reshape", ["x", "shape"], "nchw")
    model.graph.node[0].CopyFrom(reshape)
    model.graph.node.insert(0, constant("shape", np.array([-1, 1, 20, 30])))
    return model, grey(photos()).astype(np.float32) / 255


def rows(channels: int) -> tuple[onnx.ModelProto, Inputs]:
    model = network(channels=channels, nhwc=True)
    width = 20 * 30 * channels
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])
    )
    model.graph.node[0].input[0] = "pictures"
    model.graph.node.insert(0, node("Reshape", ["x", "shape"], "pictures"))
    model.graph.node.insert(0, constant("shape", np.array([-1, 20, 30, channels])))
    pictures = np.stack(photos()) if channels == 3 else grey(photos())
    return model, pictures.reshape(len(pictures), -1).astype(np.float32) / 255


@pytest.mark.parametrize(
    ("make", "options", "tolerance"),
    [
        (nhwc, KEPT, 1e-5),
        (float16, KEPT, 2e-2),
        (float64, KEPT, 1e-5),
        (one_channel, KEPT, 1e-5),
        (without_channel, (*SIZED, *SCALED), 1e-5),
        (lambda: rows(1), (*SIZED, *SCALED, "--size", "20x30"), 1e-5),
        (lambda: rows(3), (*SIZED, *SCALED, "--size", "20x30", "--layout", "nhwc"), 1e-5),
    ],
    ids=["NHWC", "float16", "float64", "one channel", "no channel", "grey rows", "colour rows"],
)
def test_graphs_answer_as_they_do_by_themselves(
    imported: Import,
    make: Callable[[], tuple[onnx.ModelProto, Inputs]],
    options: tuple[str, ...],
    tolerance: float,
) -> None:
    model, inputs = make()
    expected = own_answer(model, inputs)
    _, artifact, runtime = imported(model, *options)
    answer = runtime.run(photos())["logits"]
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, atol=tolerance)
    assert np.abs(expected - expected.mean(0)).max() > 10 * tolerance
    normalisation = artifact.manifest.input.normalisation
    assert normalisation is not None
    assert len(normalisation.mean) == (1 if inputs.ndim == 3 or inputs.shape[1] in {1, 600} else 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--scale", "0-1"), lambda x: x / 255),
        (("--scale", "0-255"), lambda x: x),
        (("--scale", "-1-1"), lambda x: x / 127.5 - 1),
        (("--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.25"), lambda x: (x / 255 - MEAN) / STD),
        (
            ("--scale", "0-255", "--mean", "103.9,116.8,123.7", "--colour-order", "bgr"),
            lambda x: x[..., ::-1] - (103.9, 116.8, 123.7),
        ),
        (("--scale", "0-255", "--mean", "127", "--std", "128"), lambda x: (x - 127) / 128),
    ],
    ids=["0-1", "0-255", "-1-1", "mean and std", "Caffe", "one number"],
)
def test_pixel_values_are_those_of_the_options(
    imported: Import, options: tuple[str, ...], expected: Callable[[Inputs], Inputs]
) -> None:
    if "--mean" in options and "--std" not in options:
        options = (*options, "--std", "1")
    inputs = expected(np.stack(photos()).astype(np.float64)).transpose(0, 3, 1, 2)
    own = own_answer(network(), inputs.astype(np.float32))
    _, _, runtime = imported(network(), *options, "--resize", "none")
    scale = max(1.0, float(np.abs(own).max()))
    np.testing.assert_allclose(runtime.run(photos())["logits"] / scale, own / scale, atol=1e-5)


def test_a_uint8_graph_needs_no_normalisation(imported: Import) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node[0].CopyFrom(node("Cast", ["x"], "nchw", to=TensorProto.FLOAT))
    pictures = np.stack(photos()).transpose(0, 3, 1, 2)
    expected = own_answer(model, pictures)
    _, _, runtime = imported(model, "--resize", "none")
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (["N", 3, "H", 3], (), "give --layout nchw or --layout nhwc"),
        (["N", "C", "H", "W"], (), "give --layout nchw or --layout nhwc"),
        (["N", 4, 20, 30], (), "with C of 3 (colour) or 1 (grey)"),
        (["N", 4, 20, 30], ("--layout", "nchw"), "has 4 channels in the order nchw"),
        ([2, 3, "H", "W"], (), "takes exactly 2 pictures at a time"),
        (["N", 1800], (), "--size HEIGHTxWIDTH"),
        (["N", 1800], ("--size", "20x30"), "give --layout nhwc (pixel by pixel)"),
        (["N", 1800], ("--size", "20x31"), "rows of 1800 values, but pictures of 20x31 have 620"),
        ([3, 20, 30], (), "shape 3 x 20 x 30; expected N x 3 x H x W"),
        (["N", 3, 8, 20, 30], (), "expected N x 3 x H x W"),
    ],
)
def test_inputs_that_are_unclear_are_refused(
    attempt: Refuse, shape: list[int | str], options: tuple[str, ...], message: str
) -> None:
    model = network()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    assert_refused(attempt(model, *SIZED, *SCALED, *options), message)


def test_inputs_of_other_types_are_refused(attempt: Refuse) -> None:
    model = network()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    assert_refused(attempt(model, *KEPT), "INT64; accepted are float32, float16, float64, uint8")


def test_a_layout_makes_an_unclear_shape_clear(imported: Import) -> None:
    model = network()
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "C", "H", "W"])
    )
    _, _, runtime = imported(model, *KEPT, "--layout", "nchw")
    expected = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, atol=1e-5)


def test_a_graph_of_one_picture_is_asked_one_by_one(imported: Import) -> None:
    model = network(batch=1)
    expected = own_answer(model, scaled(photos()))
    _, artifact, runtime = imported(model, *KEPT)
    assert artifact.manifest.input.batch == "one"
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, atol=1e-5)


def test_a_batch_that_is_only_declared_is_found(imported: Import) -> None:
    """The graph reshapes to one row, whatever batch size it declares."""
    end = (
        constant("shape", np.array([1, CLASSES])),
        node("Reshape", [LOGITS, "shape"], "p"),
    )
    expected = own_answer(network(*end), scaled(photos()))
    done, artifact, runtime = imported(network(*end), *KEPT)
    assert artifact.manifest.input.batch == "one"
    assert "it gets one at a time" in done.out
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, atol=1e-5)


def test_answers_that_depend_on_the_batch_are_found(imported: Import) -> None:
    """As batch normalisation in training mode: the mean over the batch is subtracted."""
    end = (
        node("ReduceMean", [LOGITS], "mean", axes=[0], keepdims=1),
        node("Mul", ["mean", LOGITS], "p"),
    )
    _, artifact, runtime = imported(network(*end), *KEPT)
    assert artifact.manifest.input.batch == "one"
    expected = own_answer(network(*end), scaled(photos()))
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, rtol=1e-4, atol=1e-4)


def flattened(side: int) -> onnx.ModelProto:
    """A graph that declares any size, but multiplies all pixels with weights for one."""
    random = np.random.default_rng(0)
    weights = random.normal(0, 0.05, (3 * side * side, CLASSES)).astype(np.float32)
    nodes = [node("Flatten", ["x"], "row"), node("MatMul", ["row", "w"], LOGITS)]
    graph = helper.make_graph(
        nodes,
        "flattened",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_size_that_is_only_declared_is_found(attempt: Refuse, imported: Import) -> None:
    refused = attempt(flattened(32), *KEPT)
    assert_refused(refused, "fails at 64x64 and takes 32x32; give its size, such as --size 32x32")
    _, artifact, runtime = imported(flattened(32), *SIZED, *SCALED, "--size", "32")
    assert artifact.manifest.input.fixed_size == (32, 32)
    pictures = photos(size=(32, 32))
    expected = own_answer(flattened(32), scaled(pictures))
    np.testing.assert_allclose(runtime.run(pictures)["logits"], expected, atol=1e-5)
    assert_refused(
        attempt(flattened(32), *SIZED, *SCALED, "--size", "24", "--force"),
        "the graph does not take pictures of 24x24",
    )


def test_sizes_that_fail_within_the_range_are_found(attempt: Refuse, imported: Import) -> None:
    """A convolution of 16 px without padding takes no smaller picture."""
    model = network()
    big = np.zeros((6, 3, 16, 16), np.float32)
    big[:, :, 7:10, 7:10] = numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(big, "w"))
    del model.graph.node[1].attribute[:]
    assert_refused(attempt(model, *KEPT), "the graph fails on a picture of 8x8")
    _, artifact, _ = imported(model, *SCALED, "--native", "32,512")
    assert artifact.manifest.input.native_side == (32, 512)


def test_a_graph_of_one_size_needs_a_rule(attempt: Refuse) -> None:
    model = network(size=(24, 24))
    assert_refused(attempt(model, *KEPT), "takes 24x24 (height x width) only, so pictures must be")
    sizes = ("--size", "32", *SIZED, *SCALED)
    assert_refused(attempt(model, *sizes), "takes 24x24 (height x width), but its preprocessing")


def test_one_fixed_side_becomes_a_fixed_size(imported: Import) -> None:
    model = network(size=(24, "W"))
    _, artifact, _ = imported(model, *SIZED, *SCALED, "--size", "24x40")
    assert artifact.manifest.input.fixed_size == (24, 40)


@pytest.mark.parametrize("opset", [9, 11, 13, 20, 23])
def test_opsets(imported: Import, opset: int) -> None:
    model = network(node("Softmax", [LOGITS], "p", axis=1), opset=opset)
    _, _, runtime = imported(model, *KEPT)
    expected = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, atol=1e-5)


def test_an_opset_of_the_future_is_refused(attempt: Refuse) -> None:
    model = network()
    model.opset_import[0].version = 99
    assert_refused(attempt(model, *KEPT), "It has opset 99; export it with one of 9 to 23")
