"""Routes are those of the models served, whatever their names, on a real server."""

from pathlib import Path

import httpx
import pytest

from serving.inference.models import Models
from serving.worker import _first_to_try
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.http.test_app import refused

PICTURE = encoded(photograph(40, 30))


def test_a_new_route_answers_after_a_reload(tmp_path: Path) -> None:
    root = tmp_path / "models"
    tiny_artifact(root, "robin", route="my-birds", default=True)
    with (
        running_server(root, tmp_path / "log.txt") as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):

        def answers(path: str) -> str:
            response = http.post(path, content=PICTURE)
            assert response.status_code == 200, response.text
            return str(response.json()["model"]["name"])

        detail = refused(http.post("/v1/7fish/classify", content=PICTURE), "no-model-for-route")
        assert "routes that answer with classes: my-birds." in detail
        assert answers("/v1/my-birds/classify") == "robin"
        log = (tmp_path / "log.txt").read_text()
        assert "/v1/my-birds/classify" in next(x for x in log.splitlines() if "try: curl" in x)
        assert "default" not in log

        for name in ("cod", "eel"):
            tiny_artifact(root, name, route="7fish", default=True)
        face_artifact(root)
        reloaded = http.post("/v1/models:reload").json()
        assert reloaded["defaults"] == {"7fish": "cod", "faces": "faces", "my-birds": "robin"}
        for _ in range(4):  # whichever worker answers
            with httpx.Client(base_url=address, timeout=60) as other:
                assert other.post("/v1/7fish/classify", content=PICTURE).status_code == 200
        assert answers("/v1/7fish/classify?top=1") == "cod"  # not by the fast path
        assert answers("/v1/7fish/classify?model=eel") == "eel"
        refused(http.post("/v1/7fish/classify?model=robin", content=PICTURE), "unknown-model")
        log = (tmp_path / "log.txt").read_text()
        assert "route '7fish': cod, eel all say that they are the default; cod answers" in log

        refused(http.post("/v1/gone/classify?top=1", content=PICTURE), "no-model-for-route")
        metrics = http.get("/metrics").text
        assert 'vitrine_requests_total{route="/v1/{route}/classify",status="404"} 3.0' in metrics
        assert "gone" not in metrics
        assert "7fish" not in metrics


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ({"sparrow": "birds", "frog-net": "things"}, "/v1/things/classify"),
        ({"sparrow": "fish", "wren": "birds"}, "/v1/birds/classify"),
        ({"sparrow": None, "frog-net": None}, "/v1/models/frog-net/classify"),
        ({"frog-net": None, "sparrow": "birds"}, "/v1/birds/classify"),
        ({}, None),
    ],
)
def test_the_first_command_to_try_asks_what_is_there(
    tmp_path: Path, routes: dict[str, str | None], expected: str | None
) -> None:
    face_artifact(tmp_path)
    for name, route in routes.items():
        classes = ("frog", "dog") if name == "frog-net" else ("a", "b")
        tiny_artifact(tmp_path, name, route=route, classes=classes)
    assert _first_to_try(Models.load(tmp_path)) == expected
