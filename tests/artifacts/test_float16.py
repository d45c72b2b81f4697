"""Graphs in float16: how they are made, compared and served. The GPU is simulated on the CPU."""

import ctypes
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, numpy_helper

from artifacts import Artifact, ArtifactError, Runtime, devices
from artifacts import float16 as half
from artifacts.__main__ import main
from artifacts.agreement import compare
from artifacts.artifact import FLOAT16_FILE, INT8_FILE, MODEL_FILE
from artifacts.datasets import load
from artifacts.devices import CPU, PROVIDERS, Device
from artifacts.float16 import add_float16, float16_graph
from artifacts.graph import OUTPUTS
from artifacts.manifest import Measured, Quantization
from artifacts.sessions import cpu_session
from tests.cards import CUDA, pretend_card, use_device
from tests.graphs import face_artifact, tiny_artifact, tiny_model

DATA = "synthetic/objects"
ON_CUDA = Device("auto", "cuda", 1)
FASTER, SLOWER = (100.0, 200.0), (100.0, 90.0)


def as_it_is(graph: bytes) -> bytes:
    """Return the graph: ONNX Runtime rounds to float16 after every operator on the CPU, too."""
    return graph


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend a GPU that is as fast in float32 and in float16 as a test says."""

    def pretend(speeds: tuple[float, float] = FASTER, error: Exception | None = None) -> None:
        pretend_card(monkeypatch, as_it_is, error=error)
        use_device(monkeypatch, ON_CUDA)
        monkeypatch.setattr(half, "measure_speeds", lambda *_: np.array(speeds))

    return pretend


def overflowing() -> onnx.ModelProto:
    """`tiny_model` with features beyond 65,504, and a head that makes up for it."""
    model = tiny_model()
    for tensor in model.graph.initializer:
        if factor := {"w2": 3e4, "w3": 1 / 3e4}.get(tensor.name):
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


@pytest.mark.parametrize("name", ["digits", "cifar10-lite0", "faces-dlib"])
def test_answers_of_committed_models_stay_within_the_tolerances(name: str) -> None:
    artifact = Artifact.open(name)
    content = float16_graph(artifact)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 6, 6, 3), np.uint8)
    pictures = list(coarse.repeat(12, axis=1).repeat(12, axis=2))
    policy, output = artifact.manifest.input, OUTPUTS[artifact.manifest.task]
    one, other = (
        Runtime(graph, policy, 1, engine=cpu_session).run(pictures)
        for graph in (artifact.read(MODEL_FILE), content)
    )
    assert compare(CUDA, one[output], other[output], artifact.manifest.task).agrees
    assert one.keys() == other.keys()
    for key, rows in other.items():
        assert rows.dtype == np.float32
        assert 0 < np.abs(rows - one[key]).max() < 0.02 * np.abs(one[key]).max()
    wide = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    total = sum(np.prod(t.dims) for t in model.graph.initializer)
    assert sum(np.prod(t.dims) for t in wide) < 0.1 * total


def test_normalisation_first_layer_and_head_stay_in_float32(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path)
    model = onnx.load_from_string(float16_graph(artifact))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    half_kinds = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16}
    assert half_kinds == {"w2"}
    operators = [node.op_type for node in model.graph.node]
    assert operators[:5] == ["Cast", "Mul", "Transpose", "Conv", "Cast"]  # rounded here, not before
    assert operators[-1] == "Gemm"
    assert [o.type.tensor_type.elem_type for o in model.graph.output] == [TensorProto.FLOAT] * 2
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_a_graph_that_agrees_and_is_faster_is_served_on_the_gpu_alone(
    tmp_path: Path, card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny_artifact(tmp_path)
    card()
    record = add_float16(before, DATA)
    assert record.served
    assert (record.agreement.provider, record.agreement.agrees) == (CUDA, True)
    assert record.agreement.difference is not None
    assert record.agreement.difference > 0
    assert record.data == f"{DATA}:test"
    assert record.agreement.pictures == min(500, len(load(DATA, "test")))
    assert record.float16_pictures_per_second == {1: 200.0, 16: 200.0}
    artifact = Artifact.open("tiny", tmp_path)
    assert artifact.manifest.float16 == record
    assert (artifact.model_file, artifact.precision) == (FLOAT16_FILE, "float16")
    assert (
        artifact.hash == artifact.manifest.files[FLOAT16_FILE] != before.manifest.files[MODEL_FILE]
    )
    assert artifact.read_graph() == float16_graph(artifact)
    assert Runtime.open(artifact).provider == CUDA
    assert (
        "float16 answers on CUDAExecutionProvider. float16 on CUDA"
        in (artifact.path / "card.md").read_text()
    )
    use_device(monkeypatch, Device("cpu", "cpu"))
    assert (artifact.model_file, artifact.precision) == (MODEL_FILE, "float32")
    assert artifact.hash == before.manifest.files[MODEL_FILE]
    artifact.verify()


def test_a_cpu_keeps_its_integers_beside_a_graph_in_float16(
    tmp_path: Path, card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Measured(accuracy=0.9, pictures_per_second={1: 1.0})
    quantization = Quantization(
        served=True,
        calibration="made",
        calibration_samples=1,
        test="made",
        test_samples=1,
        hardware="test",
        fp32=one,
        int8=one,
    )
    tiny = tiny_artifact(tmp_path)
    graph = tiny.read(MODEL_FILE)
    manifest = tiny.manifest.model_copy(update={"quantization": quantization})
    tiny = Artifact.save(manifest, {MODEL_FILE: graph, INT8_FILE: graph}, tmp_path)
    card()
    add_float16(tiny, DATA)
    artifact = Artifact.open("tiny", tmp_path)
    assert artifact.precision == "float16"
    use_device(monkeypatch, Device("cpu", "cpu"))
    monkeypatch.setattr("artifacts.artifact.has_integer_arithmetic", lambda: True)
    assert artifact.precision == "int8"
    monkeypatch.setattr("artifacts.artifact.has_integer_arithmetic", lambda: False)
    assert artifact.precision == "float32"


def test_a_graph_that_overflows_is_refused_and_float32_answers(
    tmp_path: Path, card: Callable[..., None]
) -> None:
    card()
    record = add_float16(tiny_artifact(tmp_path, graph=overflowing()), DATA)
    assert not record.served
    assert record.sentence == (
        "float16 on CUDAExecutionProvider fails: it returns NaN or infinity."
    )
    assert record.fp32_pictures_per_second == {}
    artifact = Artifact.open("tiny", tmp_path)
    assert artifact.precision == "float32"
    assert FLOAT16_FILE not in artifact.manifest.files
    assert not (artifact.path / FLOAT16_FILE).exists()
    assert np.isfinite(
        Runtime.open(artifact).run(list(load(DATA, "test").images[:4]))["logits"]
    ).all()


def test_a_slower_graph_is_not_served_and_takes_the_place_of_an_earlier_one(
    tmp_path: Path, card: Callable[..., None]
) -> None:
    card()
    add_float16(tiny_artifact(tmp_path), DATA)
    card(SLOWER)
    record = add_float16(Artifact.open("tiny", tmp_path), DATA)
    assert (record.agreement.agrees, record.served) == (True, False)
    artifact = Artifact.open("tiny", tmp_path)
    assert artifact.precision == "float32"
    assert not (artifact.path / FLOAT16_FILE).exists()


def test_a_card_that_fails_is_recorded(tmp_path: Path, card: Callable[..., None]) -> None:
    card(error=MemoryError("out of memory on the card"))
    record = add_float16(tiny_artifact(tmp_path), DATA)
    assert (record.served, record.agreement.error) == (False, "out of memory on the card")


def test_embeddings_are_compared_by_their_cosine(tmp_path: Path, card: Callable[..., None]) -> None:
    faces = Artifact.open("faces-dlib")
    copy = Artifact.save(faces.manifest, faces.contents(), tmp_path)
    card()
    record = add_float16(copy, "synthetic/people")
    assert record.served
    assert record.agreement.cosine is not None
    assert 0.999 <= record.agreement.cosine <= 1


def test_only_the_provider_that_was_compared_serves_it(
    tmp_path: Path, card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    card()
    add_float16(tiny_artifact(tmp_path), DATA)
    artifact = Artifact.open("tiny", tmp_path)
    with pytest.raises(ArtifactError, match=f"is for {CUDA}, and would run on {CPU}"):
        Runtime.open(artifact, engine=cpu_session)
    use_device(monkeypatch, Device("tensorrt", "tensorrt", 1))
    assert PROVIDERS["tensorrt"] != CUDA
    assert artifact.precision == "float32"


def test_what_cannot_be_made_is_refused(
    tmp_path: Path, card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_artifact(tmp_path)
    use_device(monkeypatch, Device("auto", "cpu", problem="there is no NVIDIA driver"))
    with pytest.raises(ArtifactError, match=r"no GPU is used here \(there is no NVIDIA driver\)"):
        add_float16(tiny, DATA)
    card()
    with pytest.raises(ArtifactError, match="name the data set with --dataset"):
        add_float16(tiny)
    with pytest.raises(ArtifactError, match="nothing to compute in float16"):
        float16_graph(face_artifact(tmp_path))
    broken = replace(tiny, path=tmp_path / "broken")
    broken.path.mkdir()
    (broken.path / MODEL_FILE).write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="cannot convert it"):
        float16_graph(broken)


def test_manifests_without_float16_keep_their_bytes(tmp_path: Path) -> None:
    assert b"float16" not in tiny_artifact(tmp_path).manifest.canonical()


def test_the_command_says_what_was_found(
    tmp_path: Path, card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path))
    tiny_artifact(tmp_path)
    command = ["quantize", "tiny", "--float16", "--dataset", DATA]
    card()
    shown = CliRunner().invoke(main, command, catch_exceptions=False).output
    assert "batches of 16: 200.0 pictures/s, 100.0 in fp32" in shown
    assert shown.endswith(f"tiny: served in float16 on {CUDA}\n")
    said = CliRunner().invoke(main, [*command, "--json"], catch_exceptions=False).output
    record = Artifact.open("tiny", tmp_path).manifest.float16
    assert record is not None
    assert json.loads(said) == record.model_dump(mode="json")
    tiny_artifact(tmp_path, graph=overflowing())
    shown = CliRunner().invoke(main, command, catch_exceptions=False).output
    assert "fails: it returns NaN or infinity. A difference of 0.05" in shown
    assert shown.endswith("tiny: served in fp32, as before\n")


class Driver:
    """The part of CUDA's driver that names a GPU."""

    def __init__(self, status: int) -> None:
        self.cuInit = lambda _: status
        self.cuDeviceGet = lambda _gpu, _number: 0

    @staticmethod
    def cuDeviceGetName(name: ctypes.Array[ctypes.c_char], size: int, _: object) -> int:  # noqa: N802
        name.value = b"NVIDIA Test"[:size]
        return 0


@pytest.mark.parametrize(("status", "expected"), [(0, "NVIDIA Test"), (100, "")])
def test_the_driver_names_the_gpu(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: str
) -> None:
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _: Driver(status))
    assert devices.gpu_name() == expected
