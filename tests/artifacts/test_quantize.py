"""Quantization on graphs written node by node; what is faster depends on the machine."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from sklearn.metrics import average_precision_score

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.artifact import INT8_FILE, MODEL_FILE
from artifacts.datasets import load
from artifacts.graph import load_graph
from artifacts.manifest import Measured, Quantization
from artifacts.pictures import Picture
from artifacts.provenance import hardware, has_gpu, has_integer_arithmetic
from artifacts.quantize import int8_graph, is_worthwhile, quantize
from tests.graphs import face_artifact, tiny_artifact, tiny_model

DATA = load("synthetic/objects", "train")
PICTURES: list[Picture] = list(DATA.images[:60])
integers = pytest.mark.skipif(
    not has_integer_arithmetic() or has_gpu(),
    reason="integers answer on processors with arithmetic for them, and not beside a GPU",
)


def mobile_model(classes: int = len(DATA.classes)) -> onnx.ModelProto:
    """`tiny_model` the way EfficientNet-Lite exports: SAME padding, ReLU6, ReduceMean."""
    model = tiny_model(classes)
    graph = model.graph
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Conv":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
            node.attribute.append(helper.make_attribute("strides", [2, 2]))
        elif node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(["zero", "six"])
        elif node.op_type == "GlobalAveragePool":
            node.op_type = "ReduceMean"
            node.input.append("axes")
        graph.node.append(node)
    constants = {"zero": np.float32(0), "six": np.float32(6), "axes": np.array([2, 3])}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return model


@pytest.fixture(params=[tiny_model, mobile_model])
def artifact(request: pytest.FixtureRequest, tmp_path: Path) -> Artifact:
    """A classifier of the generated objects: random layers, and a head fitted to them."""
    model = request.param(len(DATA.classes))
    empty = tiny_artifact(tmp_path, classes=DATA.classes, temperature=1.0)
    runtime = Runtime(model.SerializeToString(), empty.manifest.input, threads=1)
    seen = runtime.run(list(DATA.images), ["features"])["features"]
    ones = np.ones((len(seen), 1), np.float32)
    targets = np.eye(len(DATA.classes), dtype=np.float32)[DATA.labels]
    # without `rcond` the head turns on digits that no rounding leaves alone
    head = np.linalg.lstsq(np.hstack([seen, ones]), targets, rcond=0.003)[0].astype(np.float32)
    for tensor in model.graph.initializer:
        if tensor.name in {"w3", "b3"}:
            weights = head[:-1] if tensor.name == "w3" else head[-1]
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return Artifact.save(empty.manifest, {MODEL_FILE: model.SerializeToString()}, tmp_path)


def operators(graph: onnx.GraphProto) -> list[str]:
    return [node.op_type for node in graph.node if node.op_type != "DequantizeLinear"]


@integers
def test_the_graph_in_integers_answers_as_the_one_it_was_made_from(artifact: Artifact) -> None:
    content = int8_graph(artifact.model_path, PICTURES)
    policy = artifact.manifest.input
    before, after = Runtime.open(artifact, 1), Runtime(content, policy, 1)
    random = np.random.default_rng(0)
    sizes = [(32, 32), (16, 40), (50, 37), (64, 64)]
    mixed = [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]
    expected, answers = before.run([*mixed, *PICTURES]), after.run([*mixed, *PICTURES])
    assert answers.keys() == expected.keys()
    for name, values in answers.items():
        error = np.abs(values - expected[name]).max()
        assert 0 < error < 0.05 * np.ptp(expected[name]), name


def test_first_layer_and_head_stay_as_they_are(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(int8_graph(artifact.model_path, PICTURES))
    graph = load_graph(path).graph
    clip = next(node.op_type for node in graph.node if node.op_type in {"Relu", "Clip"})
    front = ["Cast", "Mul", "Transpose", "Conv", clip, "QuantizeLinear"]
    assert operators(graph)[:8] == [*front, "Conv", clip]  # no rounding between layer and ReLU
    assert operators(graph)[-1] == "Gemm"
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert [kinds[name] for name in ("w1", "w3", "w2_quantized")] == [
        *(onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT),
        onnx.TensorProto.INT8,
    ]
    scales = next(t for t in graph.initializer if t.name == "w2_scale")
    assert list(scales.dims) == [16]  # one for each channel


@integers
def test_both_are_recorded_and_the_better_is_served(artifact: Artifact) -> None:
    record = quantize(artifact, "synthetic/objects")
    done = Artifact.open("tiny", artifact.path.parent)
    assert done.manifest.quantization == record
    test = load("synthetic/objects", "test")
    logits = Runtime.open(artifact, 1).run(list(test.images), ["logits"])["logits"]
    assert record.fp32.accuracy == pytest.approx((logits.argmax(1) == test.labels).mean())
    assert record.int8.accuracy == pytest.approx(record.fp32.accuracy, abs=0.05)
    assert record.fp32.accuracy > 0.5
    assert record.served == is_worthwhile(record.fp32, record.int8)
    assert (INT8_FILE in done.manifest.files) == record.served
    assert (done.path / MODEL_FILE).read_bytes() == (artifact.path / MODEL_FILE).read_bytes()
    assert (record.calibration, record.calibration_samples) == ("synthetic/objects:train", 300)
    assert (record.test, record.test_samples) == ("synthetic/objects:test", len(test))
    assert set(record.int8.pictures_per_second) == {1, 16}


def measured(accuracy: float, *speeds: float) -> Measured:
    return Measured(accuracy=accuracy, pictures_per_second=dict(zip((1, 16), speeds, strict=True)))


@pytest.mark.parametrize(
    ("int8", "expected"),
    [
        (measured(0.925, 11, 21), True),
        (measured(0.91, 11, 21), False),  # too inaccurate
        (measured(0.93, 11, 20), False),  # not faster in batches
        (measured(0.94, 9, 21), False),
    ],
)
def test_what_is_worthwhile(int8: Measured, expected: bool) -> None:
    assert is_worthwhile(measured(0.93, 10, 20), int8) == expected


def served_in_int8(artifact: Artifact) -> Artifact:
    """The artifact with its graph in integers, served whatever the speed."""
    quantization = Quantization(
        served=True,
        calibration="synthetic/objects:train",
        calibration_samples=len(PICTURES),
        test="synthetic/objects:test",
        test_samples=1,
        hardware="test",
        fp32=measured(0.9, 1, 1),
        int8=measured(0.9, 1, 1),
    )
    manifest = artifact.manifest.model_copy(update={"quantization": quantization})
    content = int8_graph(artifact.model_path, PICTURES)
    files = {MODEL_FILE: (artifact.path / MODEL_FILE).read_bytes(), INT8_FILE: content}
    return Artifact.save(manifest, files, artifact.path.parent)


@integers
def test_the_file_that_is_served_is_what_the_hash_is_of(artifact: Artifact) -> None:
    served = Artifact.open("tiny", served_in_int8(artifact).path.parent)
    assert served.model_path.name == INT8_FILE
    assert served.hash == served.manifest.files[INT8_FILE] != artifact.hash
    with pytest.raises(ArtifactError, match=r"lists no model\.int8\.onnx"):
        Artifact.save(
            served.manifest,
            {MODEL_FILE: (artifact.path / MODEL_FILE).read_bytes()},
            served.path.parent,
        )
    served.model_path.write_bytes(b"other")
    with pytest.raises(ArtifactError, match=r"model\.int8\.onnx: sha256"):
        Artifact.open("tiny", served.path.parent)


def test_without_arithmetic_for_integers_float32_answers(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = served_in_int8(artifact)
    for module in ("artifact", "quantize"):
        monkeypatch.setattr(f"artifacts.{module}.has_integer_arithmetic", lambda: False)
    assert (served.model_path.name, served.hash) == (MODEL_FILE, artifact.hash)
    with pytest.raises(ArtifactError, match="no instructions for 8-bit integers"):
        quantize(served, "synthetic/objects")


@integers
def test_quantizing_again_starts_from_float32(artifact: Artifact) -> None:
    served = served_in_int8(artifact)
    again = quantize(served, "synthetic/objects")
    assert (again.hardware, again.calibration_samples) == (hardware(), 300)
    assert Artifact.open("tiny", served.path.parent).manifest.quantization == again


def test_what_cannot_be_quantized_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.quantize.has_integer_arithmetic", lambda: True)
    with pytest.raises(ArtifactError, match="is not a classifier"):
        quantize(face_artifact(tmp_path), "synthetic/people")
    tiny = tiny_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="name the data set with --dataset"):
        quantize(tiny)
    with pytest.raises(ArtifactError, match="has other classes than tiny"):
        quantize(tiny, "synthetic/objects")
    model = tiny_model()
    model.opset_import[0].version = 12
    old = replace(tiny, path=tmp_path / "old")
    old.path.mkdir()
    onnx.save(model, old.model_path)
    with pytest.raises(ArtifactError, match="its opset is 12"):
        int8_graph(old.model_path, PICTURES)


def test_a_graph_of_one_layer_and_a_head_has_nothing_to_quantize(tmp_path: Path) -> None:
    model = tiny_model()
    nodes = [n for n in model.graph.node if n.input[0] not in {"r1", "c2"}]
    for node in nodes:
        node.input[:] = ["r1" if name == "r2" else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for tensor in model.graph.initializer:
        if tensor.name == "w3":
            tensor.CopyFrom(numpy_helper.from_array(np.ones((8, 3), np.float32), "w3"))
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 8
    onnx.save(model, tmp_path / "shallow.onnx")
    with pytest.raises(ArtifactError, match="nothing to quantize"):
        int8_graph(tmp_path / "shallow.onnx", PICTURES)


@integers
def test_the_command_prints_both(artifact: Artifact) -> None:
    environment = {"VITRINE_ARTIFACTS": str(artifact.path.parent)}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "artifacts", "quantize", "tiny", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = run("--dataset", "synthetic/objects", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    quantization = Artifact.open("tiny", artifact.path.parent).manifest.quantization
    assert quantization is not None
    assert json.loads(done.stdout) == quantization.model_dump(mode="json")
    refused = run()
    assert (refused.returncode, refused.stdout) == (1, "")
    reason = "error: the manifest of tiny does not say what it was trained on"
    assert refused.stderr.startswith(reason)


@integers
def test_a_multi_label_model_is_measured_at_its_thresholds(tmp_path: Path) -> None:
    test = load("synthetic/shapes", "test")
    labels = tiny_artifact(
        tmp_path, task="multi-label", classes=test.classes, thresholds=(0.4, 0.5, 0.6, 0.2)
    )
    record = quantize(labels, "synthetic/shapes")
    logits = Runtime.open(labels, 1).run(list(test.images), ["logits"])["logits"]
    present = 1 / (1 + np.exp(-logits / 2.0)) >= np.array(labels.manifest.thresholds)
    assert record.fp32.accuracy == pytest.approx((present == test.labels).mean(), abs=1e-6)
    expected = average_precision_score(test.labels, logits, average="macro")
    assert record.fp32.mean_average_precision == pytest.approx(expected, abs=1e-6)
    one = tiny_artifact(tmp_path, "one", classes=test.classes)
    with pytest.raises(ArtifactError, match="any number of labels, which does not fit one"):
        quantize(one, "synthetic/shapes")


@pytest.mark.parametrize(("precision", "expected"), [(0.796, True), (0.79, False)])
def test_mean_average_precision_may_not_fall_either(precision: float, expected: bool) -> None:
    fp32, int8 = (
        measured(0.9, *speeds).model_copy(update={"mean_average_precision": value})
        for speeds, value in (((10, 20), 0.8), ((11, 21), precision))
    )
    assert is_worthwhile(fp32, int8) == expected
