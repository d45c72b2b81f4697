import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from artifacts import InputPolicy, Runtime
from artifacts.quantize import int8_graph
from training.export import Served, export
from training.half_precision import MIN_SIZES, answers, halve, halve_if_accurate
from training.networks import build
from training.settings import Network

POLICY = InputPolicy()


@pytest.fixture(scope="module")
def graph() -> bytes:
    torch.manual_seed(0)
    network = build(Network("ladder", {"rung": "GAP"}), 10)
    with torch.no_grad():
        network.train()(torch.rand(32, 3, 32, 32))
    return export(Served(network.eval(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), POLICY)


def difference(first: bytes, second: bytes, pictures: np.ndarray) -> float:
    one, other = (answers(graph, POLICY, list(pictures)) for graph in (first, second))
    return float(np.abs(one - other).max())


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)


def test_large_weights_take_half_the_place_and_answers_stay(
    graph: bytes, pictures: np.ndarray
) -> None:
    halved = halve(graph)
    kinds = {
        tensor.data_type
        for tensor in onnx.load_from_string(halved).graph.initializer
        if np.prod(tensor.dims) >= MIN_SIZES[0] and tensor.data_type != TensorProto.INT64
    }
    assert kinds == {TensorProto.FLOAT16}
    assert len(halved) < 0.55 * len(graph)
    assert 0 < difference(graph, halved, pictures) < 1e-3
    assert halve_if_accurate(graph, POLICY, pictures) == halved


def test_a_graph_whose_answers_would_change_stays(graph: bytes, pictures: np.ndarray) -> None:
    model = onnx.load_from_string(graph)
    head = next(t for t in model.graph.initializer if list(t.dims) == [10, 160])
    # around 8000, float16 is too coarse for the weights of the head
    values = numpy_helper.to_array(head) + np.float32(8000)
    head.CopyFrom(numpy_helper.from_array(values, head.name))
    sharp = model.SerializeToString()
    assert difference(sharp, halve(sharp), pictures) > 1e-3
    largest = halve(sharp, MIN_SIZES[1])  # the head has fewer elements
    assert len(sharp) > len(largest) > len(halve(sharp))
    assert halve_if_accurate(sharp, POLICY, pictures) == largest


def test_a_graph_of_which_no_answer_stays_is_left_as_it_is(
    graph: bytes, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.half_precision.TOLERANCE", 0.0)
    assert halve_if_accurate(graph, POLICY, pictures) == graph


def test_weights_beyond_its_range_stay_single(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = 1e5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    stored = onnx.load_from_string(halve(model.SerializeToString())).graph.initializer
    assert {t.name: t.data_type for t in stored}[weight.name] == TensorProto.FLOAT


def test_a_halved_graph_can_be_quantized(
    graph: bytes, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("half") / "model.onnx"
    path.write_bytes(halve(graph))
    integers = int8_graph(path, iter(pictures))
    assert any(n.op_type == "QuantizeLinear" for n in onnx.load_from_string(integers).graph.node)
    logits = [
        Runtime(g, POLICY).run(list(pictures), ["logits"])["logits"] for g in (graph, integers)
    ]
    assert np.abs(logits[0] - logits[1]).max() < 0.2 * np.abs(logits[0]).max()


def test_answers_of_a_multi_label_model_are_sigmoids(graph: bytes, pictures: np.ndarray) -> None:
    logits = Runtime(graph, POLICY).run(list(pictures), ["logits"])["logits"]
    found = answers(graph, POLICY, list(pictures), "multi-label")
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-5)
