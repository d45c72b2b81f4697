"""Requests of many pictures that are answered one by one, at a real server."""

import json
from typing import Any

import httpx
import pytest

from artifacts import InputPolicy
from serving.http.bulk import WINDOW_BYTES, WINDOW_PICTURES, WINDOW_PIXELS, _windows
from serving.pictures.archives import Member
from serving.pictures.limits import MAX_BODY_BYTES
from serving.problems import KINDS
from serving.schemas import NDJSON, EachClassification, EachFeatures, EachNeighbours
from tests.archives import GZIP, TAR, ZIP, make_tar, make_zip
from tests.pictures import bomb, encoded, photograph

CLASSIFY = "/v1/models/tiny/classify"
ROUTE = "/v1/cifar10/classify"
FEATURES = "/v1/models/tiny/features"
NEIGHBOURS = "/v1/models/other/neighbours"
EACH = {"errors": "each"}
GOOD = encoded(photograph(48, 40, seed=1))
SMALL = encoded(photograph(4, 4))
FILES = {"a.png": GOOD, "not a picture.txt": b"text", "b/small.png": SMALL, "c.png": GOOD[:-30]}
CODES = [None, "unsupported-format", "picture-too-small", "damaged-picture"]


def form(files: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", item) for item in files.items()]


def codes(entries: list[Any]) -> list[str | None]:
    return [entry["problem"]["code"] if "problem" in entry else None for entry in entries]


def lines(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == NDJSON
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize("path", [CLASSIFY, ROUTE])
def test_a_bad_picture_leaves_the_others_alone(http: httpx.Client, path: str) -> None:
    response = http.post(path, params=EACH, files=form(FILES))
    answer = response.json()
    assert response.status_code == 200, answer
    entries = answer["pictures"]
    assert codes(entries) == CODES
    assert [entry["index"] for entry in entries] == [0, 1, 2, 3]
    assert [entry["name"] for entry in entries] == list(FILES)
    problem = entries[2]["problem"]
    assert (problem["picture"], problem["name"]) == (2, "b/small.png")
    assert problem["status"] == KINDS["picture-too-small"].status
    assert problem["title"] == KINDS["picture-too-small"].title
    assert "4x4" in problem["detail"]
    alone = http.post(path, content=GOOD).json()
    assert entries[0].items() >= alone["pictures"][0].items()
    assert answer["model"] == alone["model"]
    assert len(EachClassification.model_validate(answer).pictures) == 4


def test_by_default_the_request_is_refused(http: httpx.Client) -> None:
    for params in ({}, {"errors": "request"}):
        response = http.post(CLASSIFY, params=params, files=form(FILES))
        assert response.status_code == 415
        assert response.json()["picture"] == 1
    assert http.post(CLASSIFY, params={"errors": "none"}, content=GOOD).status_code == 422


def test_all_pictures_may_be_refused(http: httpx.Client) -> None:
    answer = http.post(CLASSIFY, params=EACH, content=SMALL).json()
    assert codes(answer["pictures"]) == ["picture-too-small"]
    assert answer["model"]["name"] == "tiny"


def test_lines_hold_the_same_as_the_whole(http: httpx.Client) -> None:
    many = {f"{number}.png": content for number in range(WINDOW_PICTURES + 9) for content in [GOOD]}
    many |= FILES
    whole = http.post(CLASSIFY, params={"errors": "each", "top": 1}, files=form(many)).json()
    response = http.post(CLASSIFY, params={"top": 1}, files=form(many), headers={"Accept": NDJSON})
    found = lines(response)
    assert [entry["index"] for entry in found] == list(range(len(many)))
    assert [entry["name"] for entry in found] == list(many)
    assert found == whole["pictures"]
    assert response.headers["Vitrine-Model"] == "tiny"
    assert response.headers["Vitrine-Model-Hash"] == whole["model"]["hash"]


def test_lines_are_possible_without_parameters(http: httpx.Client) -> None:
    assert codes(lines(http.post(CLASSIFY, content=GOOD, headers={"Accept": NDJSON}))) == [None]


def test_features_of_each_picture(http: httpx.Client) -> None:
    answer = http.post(FEATURES, params=EACH, files=form(FILES)).json()
    assert codes(answer["pictures"]) == CODES
    alone = http.post(FEATURES, content=GOOD).json()
    assert answer["pictures"][0]["features"] == pytest.approx(alone["features"][0], abs=1e-5)
    assert answer["provider"] == alone["provider"]
    EachFeatures.model_validate(answer)
    found = lines(http.post(FEATURES, files=form(FILES), headers={"Accept": NDJSON}))
    assert found == answer["pictures"]


def test_neighbours_of_each_picture(http: httpx.Client) -> None:
    answer = http.post(NEIGHBOURS, params=EACH | {"top": 3}, files=form(FILES)).json()
    assert codes(answer["pictures"]) == CODES
    alone = http.post(NEIGHBOURS, params={"top": 3}, content=GOOD).json()
    given = answer["pictures"][0]
    assert [n["number"] for n in given["nearest"]] == [
        n["number"] for n in alone["pictures"][0]["nearest"]
    ]
    assert (given["index"], given["name"], given["place"]) == (
        0, "a.png", pytest.approx(alone["pictures"][0]["place"]),
    )  # fmt: skip
    assert alone["pictures"][0].keys() == {"place", "nearest"}
    assert {k: v for k, v in answer.items() if k != "pictures"} == {
        k: v for k, v in alone.items() if k != "pictures"
    }
    EachNeighbours.model_validate(answer)
    body, headers = make_tar(FILES), {"Content-Type": TAR, "Accept": NDJSON}
    found = lines(http.post(NEIGHBOURS, params={"top": 3}, content=body, headers=headers))
    assert found == answer["pictures"]
    only = http.post(NEIGHBOURS, params=EACH, content=SMALL).json()
    assert codes(only["pictures"]) == ["picture-too-small"]
    assert only["model"] == alone["model"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (make_zip({"d/": b"", "d/a.png": GOOD, "b.png": GOOD}), ZIP),
        (make_zip({"d/a.png": GOOD, "b.png": GOOD}, 8), "application/x-zip-compressed"),
        (make_tar({"d/": b"", "d/a.png": GOOD, "b.png": GOOD}), TAR),
        (make_tar({"d/a.png": GOOD, "b.png": GOOD}, "w:gz"), GZIP),
        (make_zip({"__MACOSX/d/._a.png": b"x", "d/a.png": GOOD, "b.png": GOOD}), ZIP),
        (make_zip({"d/a.png": GOOD, ".DS_Store": b"x", "b.png": GOOD}), ZIP),
        (make_tar({"d/._a.png": b"x", "d/a.png": GOOD, "b.png": GOOD, "Thumbs.db": b"y"}), TAR),
    ],
)  # fmt: skip
def test_an_archive_counts_as_many_pictures(http: httpx.Client, body: bytes, kind: str) -> None:
    response = http.post(CLASSIFY, content=body, headers={"Content-Type": kind})
    answer = response.json()
    assert response.status_code == 200, answer
    assert [entry["name"] for entry in answer["pictures"]] == ["d/a.png", "b.png"]
    alone = http.post(CLASSIFY, content=GOOD).json()["pictures"][0]
    assert answer["pictures"][0].items() >= alone.items()


def test_a_bad_picture_of_an_archive_is_named(http: httpx.Client) -> None:
    body, headers = make_zip(FILES), {"Content-Type": ZIP}
    problem = http.post(CLASSIFY, content=body, headers=headers).json()
    assert (problem["code"], problem["picture"]) == ("unsupported-format", 1)
    assert problem["name"] == "not a picture.txt"
    entries = http.post(CLASSIFY, params=EACH, content=body, headers=headers).json()["pictures"]
    assert codes(entries) == CODES


def test_what_is_too_large_for_memory_is_kept_on_disk(http: httpx.Client) -> None:
    """The pictures behind the first 20 MB are read from a file, as are those before."""
    large = encoded(photograph(1700, 1300), "BMP")
    files = {"first.png": GOOD, "1.bmp": large, "2.bmp": large, "3.bmp": large, "last.png": GOOD}
    assert sum(map(len, files.values())) < MAX_BODY_BYTES < 4 * len(large)
    files["4.bmp"] = large
    assert http.post(CLASSIFY, files=form(files)).json()["code"] == "body-too-large"
    found = http.post(CLASSIFY, params=EACH, files=form(files)).json()["pictures"]
    alone = http.post(CLASSIFY, content=GOOD).json()["pictures"][0]
    assert codes(found) == [None] * len(files)
    assert [entry["name"] for entry in found] == list(files)
    assert found[0]["size"] == found[4]["size"] == alone["size"]
    assert found[4]["top"][0]["class"] == alone["top"][0]["class"]
    assert {entry["size"]["width"] for entry in found[1:4]} == {1700}
    tar = http.post(CLASSIFY, content=make_tar(files), headers={"Content-Type": TAR}).json()
    assert [entry["size"] for entry in tar["pictures"]] == [entry["size"] for entry in found]


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (bomb(2048), WINDOW_PIXELS // 2048**2),
        (bomb(4096), 1),  # alone, because it has more than a window holds
        (GOOD, WINDOW_PICTURES),
        (GOOD + bytes(3_000_000), WINDOW_BYTES // 3_000_000),
    ],
)
def test_windows_are_bounded_and_read_one_by_one(content: bytes, number: int) -> None:
    read = []

    def member(index: int) -> Member:
        return Member(None, lambda: read.append(index) or content)  # type: ignore[func-returns-value]

    windows = _windows([member(i) for i in range(2 * number + 1)], InputPolicy())
    sizes = []
    for window in windows:
        sizes.append(len(window))
        assert len(read) <= sum(sizes) + 1  # one is read to find that it does not fit
    assert sizes == [number, number, 1]
    assert read == list(range(2 * number + 1))
