"""Bodies that carry pictures in a form that is not accepted, at every address that takes some."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator

import httpx
import pytest

from tests.graphs import face_artifact, tiny_artifact, with_atlas
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.conftest import ATLAS_PICTURES
from tests.serving.http.test_app import form, refused

PICTURE = encoded(photograph(48, 40))
JPEG = encoded(photograph(48, 40), "JPEG")
BASE64 = base64.b64encode(PICTURE)
URL_ENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
STRIPPED = JPEG.translate(None, b"\r\n\0")
"""What `curl -d @picture.jpg` sends."""
BODIES = {
    "json": (json.dumps({"image": BASE64.decode()}).encode(), "application/json", "", "JSON"),
    "other json": (b'["x"]', "application/problem+json; charset=utf-8", "", "JSON"),
    "gzip": (gzip.compress(PICTURE), "image/png", "gzip", "unencoded"),
    "deflate": (zlib.compress(PICTURE), "", "Deflate", "unencoded"),
    "br": (b"\x8b\x02\x80", "image/png", "br", "unencoded"),
    "form in gzip": (gzip.compress(b"--x"), "multipart/form-data; boundary=x", "gzip", "unencoded"),
    "fields": (b"image=" + BASE64, URL_ENCODED["Content-Type"], "", "x-www-form-urlencoded"),
    "stripped": (STRIPPED, URL_ENCODED["Content-Type"], "", "--data-binary"),
    "file name": (b"@picture.jpg", URL_ENCODED["Content-Type"], "", "--data-binary"),
    "file name, no label": (b"@picture.jpg", "", "", "--data-binary"),
    "base64": (BASE64, "text/plain", "", "base64"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("bodies")
    with_atlas(tiny_artifact(root / "models", "tiny", route="cifar10"), ATLAS_PICTURES)
    face_artifact(root / "models", default=True)
    with (
        running_server(root / "models", root / "log") as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def addresses(server: httpx.Client) -> list[tuple[str, str]]:
    """Method and path of every operation whose body is documented to be nothing but pictures."""
    names = {"{name}": "tiny", "{route}": "cifar10", "{person}": "ada"}
    found = []
    for path, operations in server.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "multipart/form-data" in content and "application/json" not in content:
                for placeholder, name in names.items():
                    path = path.replace(placeholder, name)  # noqa: PLW2901
                found.append((method, path + ("?layer=relu_1" if path.endswith("maps") else "")))
    return found


@pytest.mark.parametrize("case", BODIES)
def test_the_refusal_says_what_to_send(server: httpx.Client, case: str) -> None:
    body, kind, encoding, expected = BODIES[case]
    headers = {"Content-Type": kind, "Content-Encoding": encoding}
    given = {name: value for name, value in headers.items() if value}
    asked = addresses(server)
    assert len(asked) == 11
    for method, path in asked:
        response = server.request(method, path, content=body, headers=given)
        detail = refused(response, "unsupported-body")
        assert response.status_code == 415
        assert expected in detail
        fields = "first=@one.jpg -F second=@two.jpg" if "verify" in path else "image=@picture.jpg"
        assert f"curl -F {fields} ADDRESS" in detail


def test_pictures_are_answered_whatever_their_label(server: httpx.Client) -> None:
    for kind in ("application/json", "text/plain", URL_ENCODED["Content-Type"]):
        for picture in (PICTURE, JPEG):
            headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
            path = "/v1/models/tiny/classify"
            assert server.post(path, content=picture, headers=headers).status_code == 200


def test_other_bodies_are_refused_for_what_they_are(server: httpx.Client) -> None:
    path = "/v1/models/tiny/classify"
    refused(server.post(path, content=b"no picture"), "unsupported-format")
    refused(server.post(path, content=b"", headers=URL_ENCODED), "no-picture")
    refused(server.post(path, files=form(b"@picture.jpg")), "unsupported-format")
