"""`explain` over HTTP: the same as in process, refusals, and what it counts as."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from artifacts import Artifact
from serving.client import Client, LocalPredictor
from serving.http.app import create_app
from serving.http.intake import Answerer
from serving.http.middleware import Middleware
from serving.inference.admission import Budget, Place
from serving.inference.in_flight import InFlight
from serving.inference.models import Models
from serving.inference.scheduler import Scheduler
from serving.inference.served_model import ServedModel
from serving.inspection.explainers import CELLS
from serving.observability import metrics
from serving.problems import RequestError
from serving.schemas import PNG
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.client.conftest import opened
from tests.serving.http.test_app import form, refused
from tests.serving.inspection.test_head import two_layers

PICTURE = encoded(photograph(50, 31))
NAMES = ("red / 红", "green", "blue")
"""Of the classes of `several`."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("explained") / "models"
    tiny_artifact(root, "tiny")
    tiny_artifact(root, "deep", graph=two_layers(), input={"native_side": None})
    several = {"task": "multi-label", "thresholds": (0.5,) * 3, "classes": NAMES}
    tiny_artifact(root, "several", **several)
    face_artifact(root)
    return root


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with running_server(root, root.parent / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("name", "label"), [("tiny", None), ("deep", "blue"), ("several", NAMES[0])]
)
def test_the_answer_is_that_of_the_local_model(
    kind: str, name: str, label: str | None, url: str, root: Path
) -> None:
    with opened(kind, url) as client:
        given = client.explain(name, PICTURE, label)
        overlay = client.explain_overlay(name, PICTURE, label)
        top = client.classify(name, [PICTURE], top=3).pictures[0].top
    expected = LocalPredictor(root).explain(name, PICTURE, label)
    np.testing.assert_allclose(given.grid, expected.grid, atol=1e-4)
    assert given.label == expected.label == (label or top[0].label)
    probability = next(guess.probability for guess in top if guess.label == given.label)
    assert given.probability == pytest.approx(probability, abs=1e-6)
    assert given.model_dump(exclude={"map", "logit", "probability"}) == expected.model_dump(
        exclude={"map", "logit", "probability"}
    )
    with Image.open(io.BytesIO(overlay)) as image:
        assert (image.format, image.size) == ("PNG", (50, 31))


def test_an_overlay_says_what_it_shows(http: httpx.Client) -> None:
    address = f"/v1/models/several/explain?class={quote(NAMES[0], safe='')}"
    answer = http.post(address, content=PICTURE, headers={"Accept": f"{PNG}, */*;q=0.1"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == PNG
    assert answer.headers["vitrine-class"] == quote(NAMES[0])
    assert answer.headers["vitrine-method"] == "class-activation-map"
    assert answer.headers["vitrine-model"] == "several"
    plain = http.post(address, content=PICTURE).json()
    assert plain["model"]["hash"] == answer.headers["vitrine-model-hash"]
    assert plain["class"] == NAMES[0]


def test_what_cannot_be_explained_is_refused(http: httpx.Client) -> None:
    detail = refused(
        http.post("/v1/models/tiny/explain?class=purple", content=PICTURE), "bad-parameter"
    )
    assert "'purple'" in detail
    assert "red, green, blue" in detail
    detail = refused(http.post("/v1/models/faces/explain", content=PICTURE), "task-not-supported")
    assert "gives embeddings, not classes" in detail
    refused(http.post("/v1/models/nobody/explain", content=PICTURE), "unknown-model")
    detail = refused(
        http.post("/v1/models/tiny/explain", files=form(PICTURE, PICTURE)), "bad-parameter"
    )
    assert "one at a time" in detail
    for content, code in (
        (b"", "no-picture"),
        (b"junk", "unsupported-format"),
        (PICTURE[:-200], "damaged-picture"),
        (encoded(photograph(7, 7)), "picture-too-small"),
    ):
        for accept in ("*/*", PNG):
            headers = {"Accept": accept}
            refused(http.post("/v1/models/tiny/explain", content=content, headers=headers), code)


def test_a_picture_that_would_be_run_too_often_is_refused(url: str, root: Path) -> None:
    large = encoded(photograph(1200, 1000))
    with Client(url) as client:
        for asked in (client, LocalPredictor(root)):
            with pytest.raises(RequestError, match=r"0\.98 megapixels") as caught:
                asked.explain("deep", large)
            assert caught.value.code == "too-many-pixels"
        assert client.explain("tiny", large).size.width == 1200


def test_all_pictures_that_are_run_are_admitted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[list[int]] = []
    take = Place.take_pixels

    def recorded(place: Place, sizes: list[int]) -> None:
        taken.append(sizes)
        take(place, sizes)

    monkeypatch.setattr(Place, "take_pixels", recorded)
    scheduler = Scheduler(1, InFlight(metrics.FOLDER, 1, 1))
    budget = Budget(10**9)
    with ThreadPoolExecutor(1) as pool:
        app = create_app(pool, scheduler, Answerer(pool, scheduler))
        names = ("tiny", "deep")
        app.state.models = Models({n: ServedModel(Artifact.open(n, root), 1) for n in names}, {})
        middleware = Middleware(app, 60, budget, log_all=False)
        middleware.closed = None
        client = TestClient(middleware)
        for name in names:
            assert client.post(f"/v1/models/{name}/explain", content=PICTURE).status_code == 200
    scheduler.close()
    size = 50 * 31
    assert [sizes for sizes in taken if sizes] == [[size], [size], [size] * CELLS * CELLS]
    assert budget.pixels_taken == 0


def test_both_forms_are_documented(http: httpx.Client) -> None:
    operation = http.get("/openapi.json").json()["paths"]["/v1/models/{name}/explain"]["post"]
    assert operation["responses"]["200"]["content"].keys() == {"application/json", PNG}
    assert [p["name"] for p in operation["parameters"]] == ["name", "class"]
