"""What both clients answer about models, on a real server."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.client import Client, LocalPredictor
from serving.client.calls import array_of
from serving.client.chunks import ServerError
from serving.problems import RequestError
from serving.schemas import Drift
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.client.conftest import opened

PICTURES = [encoded(photograph(30 + 5 * i, 20, i)) for i in range(3)]


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    with opened(request.param, url) as client:
        yield client


def test_the_list_names_defaults_and_what_could_not_be_loaded(client: Any) -> None:
    listed = client.model_list()
    assert list(listed.models) == client.models()
    assert {model.name for model in listed.models} == {"tiny", "other"}
    assert [broken.name for broken in listed.unavailable] == ["broken"]
    assert listed.defaults == {"cifar10": "tiny"}


def test_the_card_is_markdown(client: Any) -> None:
    assert client.card("tiny").startswith("# tiny")
    with pytest.raises(RequestError, match="nobody"):
        client.card("nobody")


def test_a_route_answers_by_its_default_or_by_another_model(client: Any) -> None:
    default = client.classify_by_route("cifar10", PICTURES, top=2)
    assert default == client.classify("tiny", PICTURES, top=2)
    other = client.classify_by_route("cifar10", PICTURES, model="other")
    assert other == client.classify("other", PICTURES)
    with pytest.raises(RequestError) as caught:
        client.classify_by_route("nowhere", PICTURES)
    assert caught.value.code == "no-model-for-route"
    assert "cifar10" in caught.value.detail


@pytest.mark.parametrize("route", ["models", "faces", "No Route", "a/b", "..", ""])
def test_a_name_that_no_route_has_is_refused_with_what_is_accepted(client: Any, route: str) -> None:
    with pytest.raises(RequestError) as caught:
        client.classify_by_route(route, PICTURES)
    assert caught.value.code == "bad-parameter"
    assert "route" in caught.value.detail


def test_feature_maps_are_those_of_the_local_model(client: Any, models: Path) -> None:
    given = client.feature_map("tiny", PICTURES[0], "relu_1")
    expected = LocalPredictor(models).feature_map("tiny", PICTURES[0], "relu_1")
    assert (given.dtype, given.shape) == (np.float32, (8, 20, 30))
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(RequestError, match="relu_1"):
        client.feature_map("tiny", PICTURES[0], "a layer / of another model")


def test_drift_is_read(client: Any) -> None:
    drift = client.drift("tiny")
    assert isinstance(drift, Drift)
    assert drift.model == client.classify("tiny", PICTURES).model
    assert drift.missing is not None  # the artifact has no reference


def test_the_atlas_and_its_sheet(client: Any) -> None:
    atlas = client.atlas("other")
    assert [picture.label for picture in atlas.pictures] == [f"label {i}" for i in range(20)]
    with Image.open(io.BytesIO(client.atlas_sheet("other"))) as sheet:
        assert (sheet.format, sheet.width) == ("JPEG", atlas.side * atlas.columns)
    for refused in (client.atlas, client.atlas_sheet):
        with pytest.raises(RequestError) as caught:
            refused("tiny")
        assert caught.value.code == "no-atlas"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_reloading_loads_new_artifacts(kind: str, tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models", "first")
    with (
        running_server(tmp_path / "models", tmp_path / "log") as address,
        opened(kind, address) as client,
    ):
        assert [model.name for model in client.models()] == ["first"]
        tiny_artifact(tmp_path / "models", "second")
        assert {model.name for model in client.reload().models} == {"first", "second"}
        assert client.model_info("second").name == "second"


def test_what_is_no_array_is_not_read_as_one() -> None:
    for content in (b"", b"junk", b"<html></html>"):
        request = httpx.Request("POST", "http://127.0.0.1:1/v1/models/tiny/features")
        with pytest.raises(ServerError, match="gave no array"):
            array_of(httpx.Response(200, content=content, request=request))


def test_a_client_that_was_closed_leaves_no_threads(url: str) -> None:
    with Client(url) as client:
        client.classify("tiny", PICTURES)
        pool = client._pool
    assert not any(thread.is_alive() for thread in pool._threads)
