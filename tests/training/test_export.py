import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from artifacts import InputPolicy, Runtime
from tests.cards import pretend_card
from training.export import TOLERANCE, ExportError, Served, compare, export
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


def confident() -> Served:
    """A network whose logits are not small: differences count relative to the largest one, or 1."""
    network = served("GAP")
    with torch.no_grad():
        for weight in network.network.head.parameters():
            weight.mul_(100)
    return network


def pixels(count: int = 4) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(2).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_a_card_in_tf32_is_told_from_a_graph_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_card(monkeypatch)
    network, policy = confident(), InputPolicy()
    graph = export(network, policy)  # which compares them
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels()))[0].numpy()
    on_card = Runtime(graph, policy).run_batch(pixels())["logits"]
    assert np.abs(on_card - expected).max() > TOLERANCE * max(1, np.abs(expected).max())


def test_a_network_is_compared_in_float32_whatever_training_has_set() -> None:
    """Under automatic mixed precision, the network's answers would differ by too much."""
    network, policy = confident(), InputPolicy()
    plain = export(network, policy)
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.inference_mode():
                coarse = network(torch.from_numpy(pixels()))[0].float().numpy()
            graph = export(network, policy)
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert graph == plain
    exact = Runtime(graph, policy).run_batch(pixels())["logits"]
    assert np.abs(coarse - exact).max() > TOLERANCE * max(1, np.abs(exact).max())


class Coarse(nn.Module):
    """Answers as a coarser device does, unless it is asked for IEEE 754 on the CPU, in float32."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        exact = torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]
        exact = exact and not torch.is_autocast_enabled("cpu") and not self.training
        return features if exact else features.bfloat16().to(features.dtype)


def test_products_are_not_rounded_on_the_cpu_either() -> None:
    network, policy = confident(), InputPolicy()
    network.network.head = nn.Sequential(Coarse(), network.network.head)
    try:
        torch.set_float32_matmul_precision("high")
        graph = export(network.to(torch.bfloat16), policy)
        assert compare(network, graph, policy) <= TOLERANCE
        with torch.inference_mode():
            coarse = network(torch.from_numpy(pixels()))[0].numpy()
    finally:
        torch.set_float32_matmul_precision("highest")
    exact = Runtime(graph, policy).run_batch(pixels())["logits"]
    assert np.abs(coarse - exact).max() > TOLERANCE * max(1, np.abs(exact).max())
