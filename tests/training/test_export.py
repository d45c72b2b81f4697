import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from artifacts import InputPolicy, Runtime
from training.export import ExportError, Served, compare, export
from training.networks import build
from training.settings import Network


def served(rung: str) -> Served:
    torch.manual_seed(0)
    network = build(Network("ladder", {"rung": rung}), 10)
    with torch.no_grad():
        network.train()(torch.rand(32, 3, 32, 32))  # batch-norm statistics that are not 0 and 1
    return Served(network.eval(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_any_size_graph_answers_as_the_network() -> None:
    network, policy = served("GAP"), InputPolicy()
    runtime = Runtime(export(network, policy), policy)
    random = np.random.default_rng(1)
    for count, height, width in ((1, 8, 8), (3, 20, 32), (2, 97, 131)):
        images = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        outputs = runtime.run_batch(images)
        with torch.inference_mode():
            logits, features = network(torch.from_numpy(images))
        np.testing.assert_allclose(outputs["logits"], logits.numpy(), atol=1e-4)
        np.testing.assert_allclose(outputs["features"], features.numpy(), atol=1e-4)


def test_a_flattening_rung_is_exported_at_its_one_size() -> None:
    policy = InputPolicy(fixed_size=(32, 32))
    runtime = Runtime(export(served("D"), policy), policy)
    outputs = runtime.run([np.zeros((50, 70, 3), np.uint8)])
    assert outputs["logits"].shape == (1, 10)


def test_a_diverged_network_is_refused() -> None:
    network, policy = served("D"), InputPolicy(fixed_size=(32, 32))
    with torch.no_grad():
        network.network.head.bias.fill_(float("nan"))  # type: ignore[operator,union-attr]
    with pytest.raises(ExportError, match="diverged"):
        export(network, policy)


def test_a_graph_that_differs_is_refused() -> None:
    network, policy = served("GAP"), InputPolicy()
    model = onnx.load_from_string(export(network, policy))
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    with pytest.raises(ExportError, match="differ"):
        compare(network, model.SerializeToString(), policy)


def test_nodes_are_named_by_modules_and_carry_no_notes() -> None:
    content = export(served("GAP"), InputPolicy())
    graph = onnx.load_from_string(content).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert [node.name for node in graph.node if node.op_type == "Relu"][:2] == [
        "trunk.1",
        "trunk.4",
    ]
    assert b"stack_trace" not in content
    assert b'File "' not in content
