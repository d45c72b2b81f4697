"""What models say and answer in the protocol, without HTTP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts import Artifact, probabilities
from serving.inference import results
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.open_inference import answers
from serving.open_inference.requests import Asked
from serving.open_inference.schemas import OutputParameters, RequestOutput
from serving.open_inference.tensors import Tensor, strings, write
from serving.problems import RequestError
from tests.graphs import CLASSES, face_artifact, tiny_artifact
from tests.pictures import photograph

PICTURES = [np.asarray(photograph(32, 24, seed)) for seed in range(3)]


def answered(model: ServedModel, *wanted: RequestOutput) -> dict[str, np.ndarray]:
    """The outputs for `PICTURES`: those wanted, or all."""
    asked = Asked("1", PICTURES, list(wanted) or None, binary=False)
    chosen = answers.check_outputs(model, asked)
    computed = model.runtime.run(PICTURES, answers.graph_outputs(model))
    classified = None
    if model.manifest.task != "embedding":
        prepared = [model.runtime.prepare_and_tell(picture) for picture in PICTURES]
        classified = results.classification(model, prepared, computed, top=1)
    tensors = answers.outputs(model, computed, classified, chosen, binary=asked.binary)
    described = {each.name: each for each in answers.metadata(Models({}, {}), model).outputs}
    for each in tensors:
        if (each.name, each.datatype) != ("probabilities", "BYTES"):
            assert each.datatype == described[each.name].datatype
            sizes = zip(each.values.shape, described[each.name].shape, strict=True)
            assert all(told in {-1, size} for size, told in sizes)
    return {each.name: each.values for each in tensors}


def test_a_classifier(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path))
    found = answered(model)
    logits = model.runtime.run(PICTURES, ["logits"])["logits"]
    shares = probabilities(logits, 2.0)
    np.testing.assert_allclose(found["probabilities"], shares, atol=1e-6)
    assert found["class"].tolist() == [CLASSES[i] for i in shares.argmax(axis=1)]
    assert set(found) == {"probabilities", "class"}


def test_the_classification_extension(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path))
    shares = answered(model)["probabilities"]
    for count, expected in ((2, 2), (50, len(CLASSES))):
        parameters = OutputParameters(classification=count)
        wanted = RequestOutput(name="probabilities", parameters=parameters)
        rows = answered(model, wanted)["probabilities"]
        assert rows.shape == (len(PICTURES), expected)
        for row, given in zip(rows.tolist(), shares, strict=True):
            order = np.argsort(-given)[:expected]
            assert row == [f"{given[i]:f}:{i}:{CLASSES[i]}" for i in order]


def test_a_model_with_verdicts() -> None:
    model = ServedModel(Artifact.open("cifar10-fast"))
    found = answered(model)
    prepared = [model.runtime.prepare_and_tell(picture) for picture in PICTURES]
    computed = model.runtime.run(PICTURES, results.classify_outputs(model))
    native = results.classification(model, prepared, computed, top=1).pictures
    assert found["verdict"].tolist() == [picture.verdict for picture in native]
    np.testing.assert_allclose(found["score"], [picture.score for picture in native])


def test_a_multi_label_model(tmp_path: Path) -> None:
    thresholds = (0.0, 1.0, 0.5)
    model = ServedModel(tiny_artifact(tmp_path, task="multi-label", thresholds=thresholds))
    found = answered(model)
    logits = model.runtime.run(PICTURES, ["logits"])["logits"]
    shares = 1 / (1 + np.exp(-logits.astype(np.float64) / 2.0))
    np.testing.assert_allclose(found["probabilities"], shares, atol=1e-6)
    assert np.array_equal(found["present"], shares >= thresholds)


def test_an_embedding_model(tmp_path: Path) -> None:
    model = ServedModel(face_artifact(tmp_path))
    found = answered(model)
    expected = model.runtime.run(PICTURES, ["embedding"])["embedding"]
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-6)


def test_outputs_come_in_the_order_asked_for(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path))
    wanted = [RequestOutput(name=name) for name in ("class", "probabilities")]
    assert list(answered(model, *wanted)) == ["class", "probabilities"]


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ([{"name": "logits"}], "no output 'logits'; it has probabilities, class"),
        (
            [{"name": "class", "parameters": {"classification": 2}}],
            "for the output 'probabilities'",
        ),
        ([{"name": "class"}, {"name": "class"}], "twice"),
    ],
)
def test_outputs_that_cannot_be_had(
    tmp_path: Path, outputs: list[dict[str, Any]], reason: str
) -> None:
    model = ServedModel(tiny_artifact(tmp_path))
    wanted = [RequestOutput.model_validate(each) for each in outputs]
    with pytest.raises(RequestError, match=reason):
        answers.check_outputs(model, Asked(None, PICTURES, wanted, binary=False))


def test_versions_are_listed(tmp_path: Path) -> None:
    tiny_artifact(tmp_path, "tiny")
    (tmp_path / "tiny").rename(tmp_path / "tiny@2")
    tiny_artifact(tmp_path, "tiny")
    (tmp_path / "tiny").rename(tmp_path / "tiny@10")
    models = Models.load(tmp_path)
    described = answers.metadata(models, models.get("tiny"))
    assert (described.name, set(described.versions)) == ("tiny", {"2", "10"})
    assert answers.name_and_version(models.get("tiny")) == ("tiny", "10")


def test_json_and_binary_tensors_share_an_answer() -> None:
    numbers = np.array([[0.5, 0.25]], np.float32)
    tensors = [
        Tensor("a", numbers, binary=True),
        Tensor("b", strings(["é", "x"]), binary=False),
        Tensor("c", strings([["é", "yz"]]), binary=True),
        Tensor("d", np.array([True, False]), binary=True),
    ]
    body, length = write(tensors, "m", "2", "9")
    assert length is not None
    head = json.loads(body[:length])
    assert (head["model_name"], head["model_version"], head["id"]) == ("m", "2", "9")
    sizes = [each.get("parameters", {}).get("binary_data_size") for each in head["outputs"]]
    assert sizes == [8, None, 12, 2]
    assert [each["shape"] for each in head["outputs"]] == [[1, 2], [2], [1, 2], [2]]
    assert head["outputs"][1]["data"] == ["é", "x"]
    texts = b"\2\0\0\0\xc3\xa9\2\0\0\0yz"
    assert body[length:] == numbers.tobytes() + texts + b"\1\0"


def test_an_answer_in_json_has_no_length() -> None:
    body, length = write([Tensor("d", np.array([True]), binary=False)], "m", None, None)
    assert length is None
    assert json.loads(body) == {
        "model_name": "m",
        "outputs": [{"name": "d", "datatype": "BOOL", "shape": [1], "data": [True]}],
    }
