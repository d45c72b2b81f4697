from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from artifacts import Artifact
from serving.inference.served_model import ServedModel
from serving.inspection.looks import feature_map
from serving.problems import RequestError
from tests.graphs import tiny_artifact
from tests.pictures import photograph


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return tiny_artifact(tmp_path)


def test_maps_equal_those_of_the_plain_graph(artifact: Artifact) -> None:
    plain = onnx.load(artifact.model_path)
    plain.graph.output.append(helper.make_tensor_value_info("r2", TensorProto.FLOAT, None))
    picture = np.asarray(photograph(32, 20, 0))
    (expected,) = ReferenceEvaluator(plain).run(["r2"], {"images": picture[None]})
    found = feature_map(ServedModel(artifact), [picture], "relu_2")
    np.testing.assert_allclose(found, expected[0], atol=1e-4)
    assert found.shape == (16, 10, 16)


def test_an_unknown_layer_and_two_pictures_are_refused(artifact: Artifact) -> None:
    model, picture = ServedModel(artifact), np.asarray(photograph(32, 20, 0))
    with pytest.raises(RequestError, match="relu_1, relu_2"):
        feature_map(model, [picture], "relu_3")
    with pytest.raises(RequestError, match="one at a time"):
        feature_map(model, [picture, picture], "relu_1")
