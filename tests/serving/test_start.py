"""Which device and which models a server starts with, and when models are loaded."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from artifacts import Artifact, ArtifactError, VitrineError
from artifacts.devices import available, find, gpu_problem
from artifacts.names import selected
from serving.database.engines import check_file
from serving.faces.database import Database
from serving.inference import served_model
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.problems import RequestError
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import ROOT, environment_of, running_server

PICTURE = {"image": encoded(photograph(20, 24, 0))}


def refusal(models: Path, **environment: str) -> str:
    """Start a server that refuses to; returns what it says."""
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Vitrine"]
    done = subprocess.run(
        command,
        env=environment_of(models, models.parent / "log", **environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line


@pytest.mark.skipif(not gpu_problem("CUDAExecutionProvider")[1], reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models")
    line = refusal(tmp_path / "models", VITRINE_DEVICE="cuda")
    assert line.startswith("error: VITRINE_DEVICE=cuda cannot be used: ")
    assert line.endswith("Or set VITRINE_DEVICE=cpu.")


def test_a_search_of_faces_that_the_database_cannot_do_is_refused(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models")
    line = refusal(tmp_path / "models", VITRINE_FACE_INDEX="pgvector")
    assert line.startswith("error: VITRINE_FACE_INDEX=pgvector needs VITRINE_DATABASE=postgresql:")


def test_models_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models")
    line = refusal(tmp_path / "models", VITRINE_MODELS="tiny,huge")
    assert "VITRINE_MODELS names huge" in line
    assert line.endswith("there are: tiny.")


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models")
    file = tmp_path / "gallery.sqlite3"
    check_file(str(file))  # there is none yet
    Database(str(file)).close()
    check_file(str(file))
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no database" * 1000):
        file.write_bytes(damaged)
        with pytest.raises(VitrineError, match=r"gallery\.sqlite3 is damaged .* restore it"):
            check_file(f"sqlite:///{file}")
    line = refusal(tmp_path / "models", VITRINE_DATABASE=str(file))
    assert line.startswith(f"error: the database {file} is damaged (file is not a database); ")


def test_a_store_that_cannot_be_pulled_is_refused(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/none"
    cache = str(tmp_path / "cache")
    line = refusal(tmp_path, VITRINE_ARTIFACTS=url, VITRINE_STORE_CACHE=cache)
    assert line.startswith(f"error: VITRINE_ARTIFACTS: {url}: holds none of the models")
    assert line.endswith("so nothing can be served.")


def test_a_list_of_models_lazy_loading_and_what_is_said_of_them(tmp_path: Path) -> None:
    root, log = tmp_path / "models", tmp_path / "log.txt"
    tiny_artifact(root, "first", route="birds", default=True)
    tiny_artifact(root, "second", route="birds")
    tiny_artifact(root, "left-out", route="birds")
    settings = {"VITRINE_MODELS": "first second", "VITRINE_LOAD": "use", "VITRINE_WORKERS": "1"}
    with running_server(root, log, **settings) as url, httpx.Client(base_url=url) as http:
        listed = http.get("/v1/models").json()
        providers = {model["name"]: model["provider"] for model in listed["models"]}
        assert providers["first"]
        assert providers["second"] == ""
        assert set(providers) == {"first", "second"}
        assert _bytes(http.get("/metrics").text).keys() >= {"first"}

        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(_classify, url, "second") for _ in range(8)]
        assert {each.result() for each in asked} == {200}
        assert _classify(url, "left-out") == 404
        assert http.get("/v1/models/second").json()["provider"]
        assert "second" in _bytes(http.get("/metrics").text)

        tiny_artifact(root, "left-out-too", route="birds")
        reloaded = http.post("/v1/models:reload", timeout=60).json()
        assert {model["name"] for model in reloaded["models"]} == {"first", "second"}

        device = find("auto", available(), gpu_problem)
        assert listed["device"] == device._asdict()
        assert f'used="{device.used}"' in http.get("/metrics").text
        assert ("NO GPU IN USE" in log.read_text()) == bool(device.problem)


def _classify(url: str, name: str) -> int:
    return httpx.post(f"{url}/v1/models/{name}/classify", files=PICTURE, timeout=60).status_code


def _bytes(metrics: str) -> dict[str, float]:
    found = re.findall(r'^vitrine_model_bytes{model="(.+?)"} (\S+)$', metrics, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_concurrent_first_requests_load_a_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_runtime = served_model.open_runtime

    def watched(artifact: Artifact, *arguments: object) -> object:
        opened.append(artifact.name)
        return open_runtime(artifact, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(served_model, "open_runtime", watched)
    model = ServedModel(tiny_artifact(tmp_path), threads=1, lazy=True)
    assert not model.is_open
    assert model.outputs == ("logits", "features")
    assert not model.is_open
    barrier = Barrier(8)

    def use(_: int) -> object:
        barrier.wait()
        return model.runtime

    with ThreadPoolExecutor(8) as pool:
        assert len({id(each) for each in pool.map(use, range(8))}) == 1
    assert opened == ["tiny"]


def test_lazily_loaded_models_are_open_where_they_answer_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        tiny_artifact(tmp_path, name, route="birds", default=name == "a")
    open_runtime = served_model.open_runtime

    def failing(artifact: Artifact, *arguments: object) -> object:
        if artifact.name == "a":
            raise ArtifactError("it cannot be run.")
        return open_runtime(artifact, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(served_model, "open_runtime", failing)
    models = Models.load(tmp_path, lazy=True)
    default = models.choose("birds", None)
    assert default.is_open
    assert [name for name, model in models.served.items() if model.is_open] == [default.name]
    assert models.unavailable == {"a": "it cannot be run."}


def test_a_lazily_loaded_model_that_cannot_be_run_is_refused_then(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path), lazy=True)
    model.artifact.model_path.write_bytes(b"not what was verified")
    with pytest.raises(RequestError) as caught:
        _ = model.runtime
    assert caught.value.code == "model-unavailable"


def test_a_name_stands_for_its_versions() -> None:
    names = ["a", "a@2", "b", "b@1"]
    assert selected((), names) == names
    assert selected(("a",), names) == ["a", "a@2"]
    assert selected(("b@1", "a@2"), names) == ["a@2", "b@1"]
