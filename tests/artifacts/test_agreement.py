"""Providers at hand are compared with the CPU, and a model is measured on one that agrees."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from artifacts import Artifact, InputPolicy, Runtime
from artifacts.agreement import MAX_DIFFERENCE, compare_providers, measuring_runtime
from artifacts.devices import CPU
from artifacts.manifest import Metric, Task
from artifacts.providers import ProviderRecord
from artifacts.sessions import Engine, OnnxSession, cpu_session
from tests.cards import CUDA, in_tf32, pretend_card
from tests.graphs import embedding_model, tiny_artifact, tiny_model

POLICY = InputPolicy()
GRAPH = tiny_model().SerializeToString()
PICTURES = list(np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8))


def compare(
    task: Task = "classification", graph: bytes = GRAPH
) -> tuple[tuple[ProviderRecord, ...], list[str]]:
    said: list[str] = []
    return compare_providers(graph, POLICY, PICTURES, task, said.append), said


def logits(engine: Engine) -> npt.NDArray[np.float32]:
    return Runtime(GRAPH, POLICY, engine=engine).run(PICTURES, ["logits"])["logits"]


def scaled(*factors: float) -> Callable[[bytes], bytes]:
    """A card that multiplies the logits, each class by a factor of its own."""

    def change(graph: bytes) -> bytes:
        model = onnx.load_from_string(graph)
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w3")
        values = (numpy_helper.to_array(weight) * factors).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        return model.SerializeToString()

    return change


def test_a_machine_with_a_cpu_alone_compares_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("artifacts.devices.has_gpu", lambda: False)
    monkeypatch.setattr(
        "onnxruntime.get_available_providers",
        lambda: [CUDA, "AzureExecutionProvider", CPU],
    )
    records, said = compare()
    assert (records, said) == ((), [])
    runtime, marked = measuring_runtime(GRAPH, POLICY, records)
    assert (runtime.provider, marked) == (CPU, ())


def test_manifests_without_other_providers_keep_their_bytes(tmp_path: Path) -> None:
    assert b"providers" not in tiny_artifact(tmp_path).manifest.canonical()


def test_the_rounding_of_a_card_agrees_in_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_card(monkeypatch)
    assert np.abs(logits(cpu_session) - logits(OnnxSession)).max() > 1e-4
    (record,), said = compare()
    assert (record.provider, record.agrees, record.pictures) == (CUDA, True, 60)
    assert record.difference is not None
    assert 0 < record.difference < MAX_DIFFERENCE
    assert said == [record.sentence]
    runtime, (marked,) = measuring_runtime(GRAPH, POLICY, [record])
    assert (runtime.provider, marked.measured) == (CUDA, True)


def test_a_provider_that_differs_does_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_card(monkeypatch, scaled(-1))
    (record,), said = compare()
    assert not record.agrees
    assert record.same is not None
    assert record.same < 0.9
    assert "differs from the CPU" in said[0]
    assert f"A difference of {MAX_DIFFERENCE}" in said[0]
    runtime, (marked,) = measuring_runtime(GRAPH, POLICY, [record])
    assert (runtime.provider, marked.measured) == (CPU, False)


def test_probabilities_that_differ_do_not_agree_even_with_the_same_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_card(monkeypatch, scaled(0.01))
    (record,), _ = compare()
    assert (record.same, record.agrees) == (1.0, False)


def test_each_provider_has_its_own_record_and_one_that_cannot_be_used_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_card(monkeypatch, providers=("TensorrtExecutionProvider", CUDA))
    records, _ = compare()
    assert [record.provider for record in records] == ["TensorrtExecutionProvider", CUDA]
    _, marked = measuring_runtime(GRAPH, POLICY, records)
    assert [record.measured for record in marked] == [False, True]

    def missing(_: bytes) -> bytes:
        raise RuntimeError("please install the libraries")

    pretend_card(monkeypatch, missing)
    records, said = compare()
    assert records == ()
    assert "CUDAExecutionProvider is left out: " in said[0]
    assert "please install" in said[0]


def test_a_provider_that_fails_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_card(monkeypatch, error=MemoryError("out of memory on the card"))
    (record,), said = compare()
    runtime, _ = measuring_runtime(GRAPH, POLICY, [record])
    assert runtime.provider == CPU
    assert (record.agrees, record.error) == (False, "out of memory on the card")
    assert "fails: out of memory" in said[0]


def test_infinity_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_card(monkeypatch, scaled(np.inf))
    (record,), _ = compare()
    assert (record.agrees, record.error) == (False, "it returns NaN or infinity.")


def test_decisions_about_every_class_count_if_there_are_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_card(monkeypatch, scaled(1, 1, -1))
    cpu, card = logits(cpu_session), logits(OnnxSession)
    (record,), _ = compare("multi-label")
    assert record.same == pytest.approx(((cpu >= 0) == (card >= 0)).mean(), abs=1e-6)
    assert 0.6 < record.same < 0.7, "two of three classes keep their decisions"
    assert not record.agrees
    pretend_card(monkeypatch)
    assert compare("multi-label")[0][0].agrees


def test_embeddings_agree_in_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = embedding_model().SerializeToString()
    pretend_card(monkeypatch)
    (record,), _ = compare("embedding", graph)
    assert record.agrees
    assert record.cosine is not None
    assert 0.999 < record.cosine <= 1
    assert record.difference is record.same is None


@pytest.mark.parametrize(("agrees", "where"), [(True, CUDA), (False, "the CPU")])
def test_the_manifest_and_the_card_say_where_the_figures_are_from(
    agrees: bool, where: str, tmp_path: Path
) -> None:
    record = ProviderRecord(
        provider=CUDA, pictures=500, difference=0.0041, same=1.0, agrees=agrees, measured=agrees
    )
    metric = Metric(name="accuracy", value=0.9, split="test", samples=10)
    artifact = tiny_artifact(tmp_path, providers=(record,), metrics=(metric,))
    assert Artifact.open("tiny", tmp_path).manifest.providers == (record,)
    card = (artifact.path / "card.md").read_text()
    assert f"These figures were measured on {where}. {record.sentence}" in card


def test_the_emulation_leaves_the_graph_valid() -> None:
    onnx.checker.check_model(onnx.load_from_string(in_tf32(GRAPH)))
