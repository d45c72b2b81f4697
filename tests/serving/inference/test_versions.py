"""Several versions of one model, each under its own name, one of them under the name alone."""

from pathlib import Path

import httpx
import pytest

from artifacts import Artifact
from serving.client.in_process import LocalPredictor
from serving.inference.models import Models
from serving.problems import RequestError
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.http.test_app import refused

PICTURE = encoded(photograph(40, 30))


def version(root: Path, name: str, *classes: str) -> Artifact:
    """A tiny model of the route `cifar10`, in a folder of a version."""
    artifact = tiny_artifact(root, name.partition("@")[0], route="cifar10", classes=classes)
    artifact.path.rename(root / name)
    return artifact


def test_a_server_answers_with_each_version_and_one_by_default(tmp_path: Path) -> None:
    root = tmp_path / "models"
    first = version(root, "tiny@1", "a", "b")
    last = version(root, "tiny@10", "c", "d", "e")
    version(root, "tiny@9", "f", "g")
    with (
        running_server(root, tmp_path / "log.txt") as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):

        def answered(url: str) -> tuple[str, str]:
            response = http.post(url, content=PICTURE)
            assert response.status_code == 200
            return response.json()["model"]["name"], response.json()["model"]["hash"]

        listed = http.get("/v1/models").json()
        assert [model["name"] for model in listed["models"]] == ["tiny@1", "tiny@10", "tiny@9"]
        assert listed["defaults"] == {"cifar10": "tiny@10"}
        default = ("tiny@10", last.hash)
        assert answered("/v1/models/tiny/classify") == default
        assert answered("/v1/cifar10/classify") == default
        assert answered("/v1/cifar10/classify?model=tiny") == default
        for asked in ("/v1/models/tiny@1/classify", "/v1/cifar10/classify?model=tiny@1"):
            assert answered(asked) == ("tiny@1", first.hash)
        refused(http.post("/v1/models/tiny@2/classify", content=PICTURE), "unknown-model")
        assert 'vitrine_pictures_total{model="tiny@1"} 2.0' in http.get("/metrics").text

        (root / "tiny@1").rename(root / "tiny")
        assert http.post("/v1/models:reload").json()["defaults"] == {"cifar10": "tiny"}
        for asked in ("/v1/models/tiny/classify", "/v1/cifar10/classify"):
            assert answered(asked) == ("tiny", first.hash)
        assert answered("/v1/models/tiny@10/classify") == default


def test_another_version_comes_after_other_models_of_a_route(tmp_path: Path) -> None:
    version(tmp_path, "tiny@1", "a", "b")
    version(tmp_path, "tiny@2", "a", "b")
    tiny_artifact(tmp_path, "zebra", route="cifar10", classes=("a", "b"))
    models = Models.load(tmp_path)
    assert [model.name for model in models.of_route("cifar10")] == ["tiny@2", "zebra", "tiny@1"]


def test_a_broken_default_is_not_quietly_another_version(tmp_path: Path) -> None:
    version(tmp_path, "tiny@1", "a", "b")
    broken = tiny_artifact(tmp_path, "tiny", classes=("a", "b"))
    broken.model_path.write_bytes(b"not a graph")
    models = Models.load(tmp_path)
    assert models.get("tiny@1").name == "tiny@1"
    with pytest.raises(RequestError) as refusal:
        models.get("tiny")
    assert refusal.value.code == "model-unavailable"


def test_in_process_the_same_names_are_known(tmp_path: Path) -> None:
    version(tmp_path, "tiny@1", "a", "b")
    version(tmp_path, "tiny@2", "c", "d")
    predictor = LocalPredictor(tmp_path)
    for asked, answering in {"tiny": "tiny@2", "tiny@2": "tiny@2", "tiny@1": "tiny@1"}.items():
        assert predictor.classify(asked, [PICTURE], top=1).model.name == answering
