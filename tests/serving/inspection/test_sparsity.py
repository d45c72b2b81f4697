from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from artifacts import Artifact, Runtime
from artifacts.quantize import int8_graph
from serving.inference.served_model import ServedModel
from serving.inspection.activations import find_activations
from serving.inspection.looks import feature_map, inspect
from serving.inspection.sparsity import EPSILON, Probe, tap_activations
from serving.problems import RequestError
from tests.graphs import tiny_artifact, tiny_model
from tests.pictures import photograph

SIZES = [(32, 20), (16, 16), (64, 60), (32, 20)]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return tiny_artifact(tmp_path)


def pictures() -> list[np.ndarray]:
    return [np.asarray(photograph(*size, seed)) for seed, size in enumerate(SIZES)]


def test_counts_equal_those_of_the_plain_graph(artifact: Artifact) -> None:
    """Against ONNX's own NumPy evaluator, which shares no code with the probe."""
    plain = onnx.load(artifact.model_path)
    plain.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("r1", "r2")
    )
    evaluator = ReferenceEvaluator(plain)
    expected: dict[str, list[np.ndarray]] = {"r1": [], "r2": []}
    for picture in pictures():
        for name, maps in zip(
            expected, evaluator.run(list(expected), {"images": picture[None]}), strict=True
        ):
            expected[name].append((maps[0] == 0).mean(axis=(1, 2)))
    layers = inspect(ServedModel(artifact), pictures()).layers
    assert [(x.name, x.operator, x.channels) for x in layers] == [
        ("relu_1", "Relu", 8),
        ("relu_2", "Relu", 16),
    ]
    for layer, shares in zip(layers, expected.values(), strict=True):
        np.testing.assert_allclose(layer.channel_zeros, np.mean(shares, axis=0), atol=1e-6)
        assert layer.zeros == pytest.approx(np.mean(shares), abs=1e-6)
    assert layers[0].channel_zeros[0] == 1.0  # dead by construction
    assert max(layers[0].channel_zeros[1:]) < 1.0


def test_answers_are_unchanged(artifact: Artifact) -> None:
    plain = Runtime.open(artifact).run(pictures(), ["logits", "features"])
    probed = Probe(artifact).runtime.run(pictures(), ["logits", "features"])
    for name, values in plain.items():
        np.testing.assert_allclose(probed[name], values, rtol=0, atol=1e-6)


def test_one_live_value_keeps_a_channel_from_being_dead() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    x = np.zeros((1, 2, 2048, 2048), np.float32)
    x[0, 1, 5, 5] = 1e-30
    (shares,) = run_tapped(nodes, x)
    assert 1 - float(shares[0, 0]) == 1.0
    assert 1 - float(shares[0, 1]) < 1.0


def test_only_normal_numbers_above_zero_are_none() -> None:
    least = np.finfo(np.float32).smallest_normal
    values = [0.0, -0.0, -1.0, least, 1e-30, 1.0, np.finfo(np.float32).max, np.inf]
    (shares,) = run_tapped([helper.make_node("Relu", ["x"], ["y"])], column(values))
    assert shares.tolist() == [[5 / 8]]


@pytest.mark.parametrize("operator", ["Gelu", "LeakyRelu", "Tanh", "Mish"])
@pytest.mark.parametrize("tokens", [False, True])
def test_small_values_of_smooth_activations_are_counted(operator: str, *, tokens: bool) -> None:
    values = np.array([-10, -1, -0.5 * EPSILON, 0, 0.5 * EPSILON, 0.9, 2, 10])
    x = column(values.tolist())
    if tokens:
        x = x.reshape(1, 8, 1)  # N x T x C
    activation = helper.make_node(operator, ["x"], ["y"])
    nonzero, small = run_tapped([activation], x)
    y = tapped_values(activation, x)
    assert nonzero.tolist() == [[float((y != 0).mean())]]
    assert small.tolist() == [[float((np.abs(y) < EPSILON).mean())]]
    assert 3 / 8 <= small[0, 0] < 1


def column(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 1)


def tapped_values(node: onnx.NodeProto, x: np.ndarray) -> np.ndarray:
    """What one node gives, by ONNX's own NumPy evaluator."""
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def run_tapped(
    nodes: Sequence[onnx.NodeProto],
    x: np.ndarray,
    opset: int = 20,
    **weights: np.ndarray,
) -> list[np.ndarray]:
    """Outputs of the taps of a graph x -> ... -> y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    tapped, taps = tap_activations(model)
    session = ort.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = [name for tap in taps for name in tap.outputs]
    return [np.asarray(v) for v in session.run(wanted, {"x": x})]


def operators(nodes: Sequence[onnx.NodeProto], opset: int = 20) -> list[tuple[str, str]]:
    """(operator, input of the tap) of all taps of a graph x -> ... -> y on N x C x H x W."""
    scalars = {"half": 0.5, "root": 2**0.5, "one": 1.0, "zero": 0.0, "six": 6.0, "minus": -1.0}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in scalars.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return [(found.operator, found.tensor) for found in find_activations(model.graph)]


def node(operator: str, *tensors: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, tensors[:-1], tensors[-1:], **attributes)


@pytest.mark.parametrize(
    "operator", ["Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Gelu", "Mish"]
)
def test_plain_activations_are_found(operator: str) -> None:
    assert operators([node(operator, "x", "y")]) == [(operator, "y")]


def test_silu_is_tapped_after_its_product_only() -> None:
    assert operators([node("Sigmoid", "x", "s"), node("Mul", "x", "s", "y")]) == [("SiLU", "y")]


def test_a_gate_on_another_tensor_is_a_sigmoid() -> None:
    gate = [node("Neg", "x", "n"), node("Sigmoid", "n", "s"), node("Mul", "x", "s", "y")]
    assert operators(gate) == [("Sigmoid", "s")]


@pytest.mark.parametrize("halved", ["first", "last"])
def test_gelu_by_parts_is_tapped_at_its_end(halved: str) -> None:
    nodes = [node("Div", "x", "root", "d"), node("Erf", "d", "e"), node("Add", "e", "one", "a")]
    if halved == "first":
        nodes += [node("Mul", "x", "half", "h"), node("Mul", "h", "a", "y")]
    else:
        nodes += [node("Mul", "x", "a", "m"), node("Mul", "m", "half", "y")]
    assert operators(nodes) == [("GELU", "y")]


def test_a_clip_is_an_activation_where_it_clips_at_zero() -> None:
    assert operators([node("Clip", "x", "zero", "six", "y")]) == [("Clip", "y")]
    assert operators([node("Clip", "x", "minus", "one", "y")]) == []


@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 5), ()), ((2, 7, 5), (1,)), ((2, 5, 3, 4), (2, 3))]
)
@pytest.mark.parametrize("opset", [13, 20])
def test_channels_are_found_at_every_rank(
    shape: tuple[int, ...], axes: tuple[int, ...], opset: int
) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    (shares,) = run_tapped([node("Relu", "x", "y")], x, opset)
    np.testing.assert_allclose(shares, (x > 0).astype(np.float32).mean(axis=axes), atol=1e-6)
    assert shares.shape == (2, 5)


def test_names_are_those_of_the_nodes_where_they_tell_them_apart() -> None:
    model = tiny_model()
    assert [found.name for found in find_activations(model.graph)] == ["relu_1", "relu_2"]
    for each in model.graph.node:
        each.name = "same"
    assert [found.name for found in find_activations(model.graph)] == ["r1", "r2"]


def test_of_a_graph_in_integers_the_rounded_values_are_counted(artifact: Artifact) -> None:
    """They are what the next layer gets: of small values, too, it gets zeros."""
    content = int8_graph(artifact.model_path, pictures())
    plain = Runtime(content, artifact.manifest.input, threads=1)
    model, taps = tap_activations(onnx.load_from_string(content))
    assert [tap.activation.name for tap in taps] == ["relu_1", "relu_2"]
    probed = Runtime(model.SerializeToString(), artifact.manifest.input, threads=1)
    np.testing.assert_array_equal(
        probed.run(pictures(), ["logits"])["logits"], plain.run(pictures(), ["logits"])["logits"]
    )

    opened = onnx.load_from_string(content)
    roundings = {n.input[0]: n for n in opened.graph.node if n.op_type == "QuantizeLinear"}
    scales = {t.name: numpy_helper.to_array(t) for t in opened.graph.initializer}
    evaluator = ReferenceEvaluator(onnx.load(artifact.model_path))
    more = 0.0
    for tap, tensor in zip(taps, ("r1", "r2"), strict=True):
        scale = scales[roundings[tensor].input[1]]
        for picture in pictures():
            maps = evaluator.run(None, {"images": picture[None]}, intermediate=True)[tensor]
            expected = (maps < scale / 2).mean(axis=(2, 3))
            zeros = 1 - probed.run([picture], [tap.nonzero])[tap.nonzero]
            np.testing.assert_allclose(zeros, expected, atol=0.02)
            more += zeros.mean() - (maps == 0).mean()
    assert more > 0.001


@pytest.mark.parametrize("ask", [inspect, lambda m, p: feature_map(m, p[:1], "relu_1")])
def test_only_the_graph_that_answers_is_looked_into(
    artifact: Artifact, ask: Callable[[ServedModel, list[np.ndarray]], object]
) -> None:
    model = ServedModel(artifact)
    tiny_artifact(artifact.path.parent, classes=("left", "right"))  # published since
    with pytest.raises(RequestError, match="changed or removed after") as caught:
        ask(model, pictures())
    assert caught.value.code == "model-unavailable"
    assert str(artifact.path) not in caught.value.reason
