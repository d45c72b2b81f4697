"""The server as it is run, asked over HTTP."""

import re
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from artifacts.manifest import FACES, RESERVED_ROUTES
from serving.pictures.limits import MAX_BODY_BYTES
from serving.problems import KINDS, MEDIA_TYPE
from serving.schemas import Classification
from serving.service import service
from tests.pictures import bomb, encoded, photograph

CLASSIFY = "/v1/models/tiny/classify"
MIXED = [(32, 20), (97, 131), (1024, 768), (32, 20)]


def form(*pictures: bytes, field: str = "image") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, ("picture", content)) for content in pictures]


def refused(response: httpx.Response, code: str) -> str:
    """Check a refusal's form; gives its detail."""
    assert response.headers["content-type"] == MEDIA_TYPE
    content = response.json()
    assert content["code"] == code
    assert response.status_code == content["status"] == KINDS[code].status
    assert content["title"] == KINDS[code].title
    assert content["type"].endswith(code)
    detail = content["detail"]
    assert isinstance(detail, str)
    assert "/tmp" not in detail  # noqa: S108
    return detail


def test_mixed_sizes_equal_one_at_a_time(http: httpx.Client) -> None:
    pictures = [encoded(photograph(*size, seed)) for seed, size in enumerate(MIXED)]
    together = http.post(CLASSIFY, files=form(*pictures)).json()["pictures"]
    assert len(together) == len(MIXED)
    for picture, size, answer in zip(pictures, MIXED, together, strict=True):
        alone = http.post(CLASSIFY, content=picture).json()["pictures"][0]
        assert (answer["size"]["width"], answer["size"]["height"]) == size
        assert [t["class"] for t in answer["top"]] == [t["class"] for t in alone["top"]]
        found, expected = ([t["probability"] for t in a["top"]] for a in (answer, alone))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_answer_says_where_it_comes_from(http: httpx.Client) -> None:
    response = http.post(CLASSIFY, content=encoded(photograph(1024, 768), "JPEG"))
    assert response.headers["content-type"] == "application/json"
    answer = Classification.model_validate_json(response.content)
    assert answer.model.name == "tiny"
    assert answer.model.hash == http.get("/v1/models/tiny").json()["hash"]
    assert answer.model.synthetic is False
    assert answer.provider.endswith("ExecutionProvider")
    (picture,) = answer.pictures
    assert picture.treatment == "rescaled 1024x768 -> 74x55"
    assert (picture.shown.width, picture.shown.height) == (74, 55)
    shares = [p.probability for p in picture.top]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    (native,) = Classification.model_validate_json(
        http.post(CLASSIFY, content=encoded(photograph(32, 20))).content
    ).pictures
    assert native.treatment == "shown as it is"


def test_orientation_counts(http: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(photograph(40, 24), "JPEG", exif=exif.tobytes())
    size = http.post(CLASSIFY, content=content).json()["pictures"][0]["size"]
    assert size == {"width": 24, "height": 40}


def test_top(http: httpx.Client) -> None:
    picture = encoded(photograph(32, 32))
    for given, expected in ((1, 1), (2, 2), (50, 3)):
        answer = http.post(CLASSIFY, params={"top": given}, content=picture).json()
        assert len(answer["pictures"][0]["top"]) == expected
    for bad in ("0", "-3", "many", "1.5", ""):
        response = http.post(CLASSIFY, params={"top": bad}, content=picture)
        assert "top" in refused(response, "bad-parameter")


def test_a_route_answers_by_its_default_model_or_the_one_asked_for(http: httpx.Client) -> None:
    picture = encoded(photograph(32, 32))
    assert http.get("/v1/models").json()["defaults"] == {"cifar10": "tiny"}
    default = http.post("/v1/cifar10/classify", content=picture).json()
    assert default["model"]["name"] == "tiny"
    other = http.post("/v1/cifar10/classify?model=other", content=picture).json()
    assert other["model"]["name"] == "other"
    assert {t["class"] for t in other["pictures"][0]["top"]} == {"left", "right"}
    response = http.post("/v1/cifar10/classify?model=nobody", content=picture)
    assert "tiny" in refused(response, "unknown-model")
    for unknown in ("/v1/cars/classify", "/v1/cars/classify?top=1", "/v1/No Route/classify"):
        detail = refused(http.post(unknown, content=picture), "no-model-for-route")
        assert "routes that answer with classes: cifar10." in detail


@pytest.mark.parametrize(
    "name", ["%f0%9f%92%a9", "%00", "%ff%fe", "%0a", "Cifar10", "cifar10%20", "b" * 8000]
)
@pytest.mark.parametrize("query", ["", "?top=1"])
def test_a_name_that_no_route_can_have_is_unknown(
    http: httpx.Client, name: str, query: str
) -> None:
    refused(http.post(f"/v1/{name}/classify{query}", content=b"x"), "no-model-for-route")


def test_no_route_takes_the_address_of_anything_else(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert [path for path in paths if path.startswith("/v1/{")] == ["/v1/{route}/classify"]
    names = {re.split("[/:]", path)[2] for path in paths if path.startswith("/v1/")}
    assert names == {FACES, *RESERVED_ROUTES, "{route}"}
    for query in ("", "?top=1"):
        response = http.post(f"/v1/models/classify{query}", content=b"")
        refused(response, "method-not-allowed")
        assert response.headers["allow"] == "GET"
        refused(http.post(f"/v1/faces/classify{query}", content=b""), "not-found")
    detail = refused(http.get("/v1/models/classify"), "unknown-model")
    assert "'classify'" in detail
    response = http.get("/v1/cifar10/classify")
    refused(response, "method-not-allowed")
    assert response.headers["allow"] == "POST"


def test_models_are_listed_with_those_that_are_broken(http: httpx.Client) -> None:
    content = http.get("/v1/models").json()
    assert [m["name"] for m in content["models"]] == ["other", "tiny"]
    assert [m["name"] for m in content["unavailable"]] == ["broken"]
    assert "sha256" in content["unavailable"][0]["reason"]
    one = http.get("/v1/models/tiny").json()
    assert one in content["models"]
    some = http.get("/v1/models?fields=task,name").json()
    assert [set(m) for m in some["models"]] == [{"name", "task"}] * 2
    assert {k: v for k, v in some.items() if k != "models"} == {
        k: v for k, v in content.items() if k != "models"
    }
    for unknown in ("", "name,", "Name", "models"):
        response = http.get("/v1/models", params={"fields": unknown})
        assert "thresholds" in refused(response, "bad-parameter")
    assert one["classes"] == ["red", "green", "blue"]
    refused(http.get("/v1/models/broken"), "model-unavailable")
    refused(http.get("/v1/models/nobody"), "unknown-model")
    refused(http.post("/v1/models/nobody/classify", content=b"x"), "unknown-model")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "no-picture"),
        (b"this is a text file\n" * 50, "unsupported-format"),
        (encoded(photograph(64, 64), "JPEG")[:-200], "damaged-picture"),
        (encoded(photograph(64, 64))[:-200], "damaged-picture"),
        (bomb(20_000), "picture-too-large"),
        (encoded(photograph(4097, 16)), "picture-too-large"),
        (encoded(photograph(7, 7)), "picture-too-small"),
        (bytes(MAX_BODY_BYTES + 1), "body-too-large"),
    ],
    ids=["empty", "text", "cut-jpeg", "cut-png", "bomb", "large", "small", "heavy"],
)
@pytest.mark.parametrize("operation", ["classify", "features", "inspect"])
def test_what_is_no_picture_is_refused(
    http: httpx.Client, content: bytes, code: str, operation: str
) -> None:
    start = time.perf_counter()
    refused(http.post(f"/v1/models/tiny/{operation}", content=content), code)
    assert time.perf_counter() - start < 5
    if code != "body-too-large":
        good = encoded(photograph(32, 32))
        response = http.post(f"/v1/models/tiny/{operation}", files=form(good, content))
        assert refused(response, code).startswith("picture 1: ")
        assert response.json()["picture"] == 1


def test_a_body_of_unknown_length_is_cut_off(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1_000_000 + 1):
            yield bytes(1_000_000)

    refused(http.post(CLASSIFY, content=endless()), "body-too-large")


def test_bad_forms_are_refused(http: httpx.Client) -> None:
    picture = encoded(photograph(32, 32))
    detail = refused(http.post(CLASSIFY, files=form(picture, field="file")), "no-picture")
    assert "'image'" in detail
    kind = {"content-type": "multipart/form-data; boundary=x"}
    refused(http.post(CLASSIFY, content=b"nonsense", headers=kind), "bad-form")
    cut = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc'
    refused(http.post(CLASSIFY, content=cut, headers=kind), "bad-form")
    kind = {"content-type": "multipart/form-data"}
    refused(http.post(CLASSIFY, content=picture, headers=kind), "bad-form")


def test_fields_of_other_names_do_not_disturb(http: httpx.Client) -> None:
    picture = encoded(photograph(32, 32))
    files = [("note", ("", b"hello")), *form(picture)]
    assert len(http.post(CLASSIFY, files=files).json()["pictures"]) == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "image/gif", None])
def test_the_content_decides_not_its_type(http: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    response = http.post(CLASSIFY, content=encoded(photograph(32, 32)), headers=headers)
    assert response.status_code == 200


def test_features_as_json_and_npy_are_the_same(http: httpx.Client) -> None:
    pictures = form(*(encoded(photograph(*size, seed)) for seed, size in enumerate(MIXED)))
    listed = http.post("/v1/models/tiny/features", files=pictures).json()
    response = http.post(
        "/v1/models/tiny/features", files=pictures, headers={"accept": "application/x-npy"}
    )
    assert response.headers["content-type"] == "application/x-npy"
    assert response.headers["vitrine-model-hash"] == listed["model"]["hash"]
    rows = np.load(BytesIO(response.content), allow_pickle=False)
    assert rows.dtype == np.float32
    assert rows.shape == (len(MIXED), 16)
    assert np.array_equal(rows, np.array(listed["features"], np.float32))


def test_inspect_lists_the_layers(http: httpx.Client) -> None:
    pictures = form(*(encoded(photograph(*size, seed)) for seed, size in enumerate(MIXED)))
    content = http.post("/v1/models/tiny/inspect", files=pictures).json()
    assert content["pictures"] == len(MIXED)
    assert [layer["name"] for layer in content["layers"]] == ["relu_1", "relu_2"]
    assert content["layers"][0]["channel_zeros"][0] == 1.0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
def test_the_house_keeping_pages_are_there(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200


def test_the_documentation_needs_no_other_server(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-light-32x32.png"):
        assert asset in page
        assert http.get(f"/docs/assets/{asset}").status_code == 200
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/models", "/v1/models/{name}/classify", "/v1/{route}/classify"} <= set(paths)


def test_the_page_about_other_servers_names_addresses_that_there_are(http: httpx.Client) -> None:
    page = (Path(__file__).parents[3] / "docs" / "migrate.md").read_text()
    told = set(re.findall(r"\b(GET|POST|PUT|DELETE) (/v[12]/[^`?]+|/readyz|/metrics)", page))
    paths = http.get("/openapi.json").json()["paths"]
    offered = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(told) > 12
    assert told - offered == {("GET", "/readyz"), ("GET", "/metrics")}


def test_unknown_addresses_and_methods_are_problems_too(http: httpx.Client) -> None:
    for path in ("/nothing", "/v1", "/docs/assets/none.js", "/v1/models/tiny/nothing"):
        refused(http.get(path), "not-found")
    refused(http.get("/nothing", headers={"Host": "["}), "not-found")
    response = http.delete("/v1/models")
    refused(response, "method-not-allowed")
    assert response.headers["allow"] == "GET"
    refused(http.get(CLASSIFY), "method-not-allowed")


def test_only_probes_go_through_bentoml() -> None:
    front = service.to_asgi(is_main=True)
    front.bentoml = PlainTextResponse("from BentoML")
    client = TestClient(front)
    assert client.get("/readyz").text == "from BentoML"
    refused(client.post(CLASSIFY), "server-starting")
    starting = client.get("/v2/health/ready")
    assert (starting.status_code, starting.json()["code"]) == (503, "server-starting")
    assert client.get("/v2/health/live").json() == {"live": True}


def test_a_card_is_what_the_artifact_holds(http: httpx.Client, models: Path) -> None:
    answer = http.get("/v1/models/other/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text == (models / "other" / "card.md").read_text()
