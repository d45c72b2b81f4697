import asyncio
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.client import AsyncClient, Client
from serving.client.in_process import LocalPredictor
from serving.problems import RequestError
from serving.schemas import Neighbours
from tests.pictures import encoded, photograph
from tests.serving.conftest import ATLAS_PICTURES


def test_every_client_finds_the_same_neighbours(url: str, models: Path) -> None:
    sent = [encoded(photograph(64, 20, 99)), ATLAS_PICTURES[4], encoded(photograph(20, 50, 98))]

    async def ask() -> Neighbours:
        async with AsyncClient(url) as client:
            return await client.neighbours("other", sent, top=5)

    with Client(url) as client:
        found = client.neighbours("other", sent, top=5)
    local = LocalPredictor(models).neighbours("other", sent, top=5)
    assert asyncio.run(ask()) == found
    for one, other in zip(found.pictures, local.pictures, strict=True):
        assert [n.number for n in one.nearest] == [n.number for n in other.nearest]
        apart = [n.distance for n in one.nearest]
        assert apart == pytest.approx([n.distance for n in other.nearest], abs=1e-4)
        assert apart == sorted(apart)
        assert (one.place.x, one.place.y) == pytest.approx((other.place.x, other.place.y))
    nearest = found.pictures[1].nearest[0]
    assert (nearest.number, nearest.label) == (4, "label 4")


def test_the_sheet_shows_the_pictures_that_are_listed(http: httpx.Client) -> None:
    atlas = http.get("/v1/models/other/atlas").json()
    assert [picture["label"] for picture in atlas["pictures"]] == [f"label {i}" for i in range(20)]
    sheet = http.get("/v1/models/other/atlas/sheet")
    assert sheet.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(sheet.content)) as image:
        side, columns = atlas["side"], atlas["columns"]
        assert image.size == (side * columns, side * 4)
        number = 7
        cell = image.crop(
            (number % columns * side, number // columns * side, (number % columns + 1) * side, 32)
        )
    middle = np.asarray(cell, float)[6:10, 6:10].mean(axis=(0, 1))
    expected = np.asarray(Image.fromarray(ATLAS_PICTURES[number]).resize((16, 12)), float)
    assert middle == pytest.approx(expected[4:8, 6:10].mean(axis=(0, 1)), abs=12)


def test_without_atlas_it_is_said_how_to_make_one(http: httpx.Client, models: Path) -> None:
    for method, path in (("GET", "atlas"), ("GET", "atlas/sheet"), ("POST", "neighbours")):
        answer = http.request(method, f"/v1/models/tiny/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no-atlas")
        assert "vitrine analyse atlas --model tiny" in answer.json()["detail"]
    with pytest.raises(RequestError, match="vitrine analyse atlas"):
        LocalPredictor(models).neighbours("tiny", [ATLAS_PICTURES[0]])


def test_a_bad_picture_and_a_bad_number_are_refused(http: httpx.Client) -> None:
    path = "/v1/models/other/neighbours"
    assert http.post(path, content=b"junk").json()["code"] == "unsupported-format"
    picture = encoded(photograph(40, 30))
    assert http.post(f"{path}?top=0", content=picture).json()["code"] == "bad-parameter"
