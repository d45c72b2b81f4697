"""API keys: in process, and at a server that has some."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from artifacts import VitrineError
from serving.client import Client
from serving.http.access import EVERYBODY, LOCAL, Access, hash_key, is_loopback, make_key
from serving.problems import RequestError
from serving.settings import read_settings
from tests.graphs import face_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.http.test_app import refused

KEYS = {
    scopes: make_key(scopes.replace("+", "-"), scopes) for scopes in ("read", "write", "read+write")
}
ENTRIES = " ".join(entry for _, entry in KEYS.values())
FILED = make_key("filed", "read")
"""In the file of keys of the server."""
ORIGIN = "https://app.example.org"


def request(key: str | None = None, client: str = "10.0.0.1", kind: str = "Bearer") -> Request:
    headers = [] if key is None else [(b"authorization", f"{kind} {key}".encode())]
    return Request({"type": "http", "headers": headers, "client": (client, 1)})


def access(monkeypatch: pytest.MonkeyPatch, keys: str, opened: str = "") -> Access:
    monkeypatch.setenv("VITRINE_API_KEYS", keys)
    monkeypatch.setenv("VITRINE_OPEN", opened)
    return Access.from_settings(read_settings())


def test_keys_open_what_their_scopes_say(monkeypatch: pytest.MonkeyPatch) -> None:
    control = access(monkeypatch, ENTRIES)
    for scopes, (key, entry) in KEYS.items():
        assert key not in entry
        assert hash_key(key) in entry
        for scope in ("read", "write"):
            if scope in scopes:
                assert control.check(request(key), scope) == scopes.replace("+", "-")
            else:
                with pytest.raises(RequestError) as caught:
                    control.check(request(key), scope)
                assert caught.value.code == "scope-missing"
    right = KEYS["read"][0]
    for wrong in (
        request(),
        request(""),
        request(right[:-1]),
        request(right, kind="Basic"),
        request(hash_key(right)),
        request("\u00e9\u00e9"),
    ):
        with pytest.raises(RequestError) as caught:
            control.check(wrong, "read")
        assert caught.value.code == "no-key"


def test_an_open_operation_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    control = access(monkeypatch, ENTRIES, "verify, identify")
    assert control.check(request(), "read", "verify") == EVERYBODY
    assert control.check(request(KEYS["read"][0]), "read", "verify") == "read"
    for operation in ("embed", None):
        with pytest.raises(RequestError):
            control.check(request(), "read", operation)


def test_without_keys_this_machine_may_do_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    control = access(monkeypatch, "")
    for host in ("127.0.0.1", "127.8.8.8", "::1"):
        assert control.check(request(client=host), "write") == LOCAL
    for host in ("10.0.0.1", "8.8.8.8", "", "testclient"):
        with pytest.raises(RequestError) as caught:
            control.check(request(client=host), "read", "verify")
        assert caught.value.code == "this-machine-only"
    for name, value in (("sec-fetch-site", "cross-site"), ("host", "elsewhere.example:3000")):
        headers = [(name.encode(), value.encode())]
        page = Request({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)})
        with pytest.raises(RequestError) as caught:
            control.check(page, "write")
        assert caught.value.code == "this-machine-only"
    for host in ("127.0.0.1:3000", "[::1]:3000", "localhost"):
        headers = [(b"sec-fetch-site", b"same-origin"), (b"host", host.encode())]
        own = Request({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)})
        assert control.check(own, "write") == LOCAL
    for host, origin in (
        ("127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("[::1]:3000", "http://[::1]:3000"),
    ):
        headers = [(b"origin", origin.encode()), (b"host", host.encode())]
        own = Request({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)})
        assert control.check(own, "write") == LOCAL
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")  # noqa: S104


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:8080"},  # a page of another server of this machine
        {"origin": "https://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:3000.elsewhere.example"},
        {"origin": "http://127.0.0.1:3000@elsewhere.example"},
        {"host": "user@127.0.0.1:3000"},
        {"via": "1.1 proxy"},
        {"forwarded": "for=10.0.0.1"},
        {"x-real-ip": "10.0.0.1"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-host": "photos.example"},
        {"x-forwarded-proto": "https"},
        {"cf-connecting-ip": "10.0.0.1"},
    ],
    ids=str,
)
def test_other_pages_and_proxies_are_not_this_machine(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    control = access(monkeypatch, "")
    sent = {"host": "127.0.0.1:3000", **headers}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    with pytest.raises(RequestError) as caught:
        control.check(Request({"type": "http", "headers": raw, "client": ("127.0.0.1", 1)}), "read")
    assert caught.value.code == "this-machine-only"


@pytest.mark.parametrize(
    ("keys", "opened", "message"),
    [
        ("my-secret", "", "entry 1 of VITRINE_API_KEYS"),
        (f"{ENTRIES} ada:admin:{'0' * 64}", "", "entry 4 of"),
        (f"ada:read:{'0' * 64},ada:write:{'1' * 64}", "", "two keys with the same name"),
        ("", "verify delete", "VITRINE_OPEN names delete"),
        ("", "", "VITRINE_CLOSED needs VITRINE_API_KEYS"),
        (ENTRIES, "", "VITRINE_CLOSED lists addresses"),
    ],
)
def test_settings_that_make_no_sense(
    monkeypatch: pytest.MonkeyPatch, keys: str, opened: str, message: str
) -> None:
    closed = {"VITRINE_CLOSED needs": "/metrics", "VITRINE_CLOSED lists": "metrics"}
    monkeypatch.setenv("VITRINE_CLOSED", closed.get(message[:20], ""))
    with pytest.raises(VitrineError, match=message) as caught:
        access(monkeypatch, keys, opened)
    assert "my-secret" not in str(caught.value)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keys")
    face_artifact(root / "models")
    (root / "keys").write_text(f"# of the file\n{FILED[1]}\n")
    return root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    settings = {
        "VITRINE_API_KEYS": ENTRIES,
        "VITRINE_OPEN": "verify",
        "VITRINE_CLOSED": "/metrics /v1/models/faces",
        "VITRINE_API_KEYS_FILE": str(root / "keys"),
        "VITRINE_CORS_ORIGINS": ORIGIN,
        "VITRINE_LOG_FORMAT": "json",
    }
    with running_server(root / "models", root / "log", **settings) as address:
        yield address


def test_every_route_asks_for_the_key_it_needs(address: str) -> None:
    picture = encoded(photograph(32, 32))
    routes = {
        ("GET", "/v1/faces"): "read",
        ("GET", "/v1/faces/people"): "read",
        ("GET", "/v1/faces/people/p"): "read",
        ("GET", "/v1/faces/changes"): "read",
        ("GET", "/v1/faces/export"): "read",
        ("POST", "/v1/faces/embed"): "read",
        ("POST", "/v1/faces/identify"): "read",
        ("PUT", "/v1/faces/people/p/pictures"): "write",
        ("DELETE", "/v1/faces/people/p/pictures/x"): "write",
        ("DELETE", "/v1/faces/people/p"): "write",
        ("POST", "/v1/faces/import"): "write",
        ("POST", "/v1/faces/verify"): None,
    }
    described = httpx.get(f"{address}/openapi.json").json()["paths"]
    listed = {
        (method.upper(), path.replace("{person}", "p").replace("{picture}", "x"))
        for path, methods in described.items()
        for method in methods
        if path.startswith("/v1/faces") and path != "/v1/faces/classify"
    }
    assert listed == set(routes)
    with httpx.Client(base_url=address, params={"aligned": "true"}, timeout=30) as http:
        for (method, path), needed in routes.items():
            for given in (None, "read", "write"):
                headers = {} if given is None else {"Authorization": f"Bearer {KEYS[given][0]}"}
                response = http.request(method, path, content=picture, headers=headers)
                if needed is None or given == needed:
                    assert response.status_code not in {401, 403, 500}, (method, path, given)
                elif given is None:
                    refused(response, "no-key")
                    assert response.headers["www-authenticate"] == "Bearer"
                else:
                    refused(response, "scope-missing")
        assert http.get("/v1/models").status_code == 200


def test_addresses_can_be_closed(address: str) -> None:
    key = {"Authorization": f"Bearer {KEYS['read'][0]}"}
    for path in ("/metrics", "/metrics/", "/v1/models/faces", "/v1/models/faces/features"):
        refused(httpx.get(address + path), "no-key")
        assert httpx.get(address + path, headers=key).status_code not in {401, 403}
    for path in ("/v1/models", "/v1/models/other", "/livez", "/readyz", "/docs"):
        assert httpx.get(address + path).status_code not in {401, 403}
    with Client(address) as stranger, pytest.raises(RequestError) as caught:
        stranger.model_info("faces")
    assert caught.value.code == "no-key"
    with Client(address, key=KEYS["read"][0]) as client:
        assert client.model_info("faces").task == "embedding"
    refused(httpx.post(f"{address}/v1/models:reload"), "no-key")
    refused(httpx.post(f"{address}/v1/models:reload", headers=key), "scope-missing")


def test_the_log_names_the_key(address: str) -> None:
    picture = encoded(photograph(32, 32))
    with Client(address, key=KEYS["read+write"][0]) as client:
        client.enrol("named", [picture], aligned=True)
        client.remove_person("named")
        mine = [change for change in client.changes() if change.person == "named"]
    assert [change.action for change in mine] == [
        "add person",
        "enrol",
        "remove picture",
        "remove person",
    ]
    assert {change.actor for change in mine} == {"read-write"}
    with Client(address) as client, pytest.raises(RequestError) as caught:
        client.gallery()
    assert caught.value.code == "no-key"


def test_keys_of_the_file_can_be_exchanged(address: str, root: Path) -> None:
    def status(key: str) -> set[int]:
        """What all workers answer; each of the connections may go to another one."""
        headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
        return {httpx.get(f"{address}/metrics", headers=headers).status_code for _ in range(8)}

    def wait_for(key: str, expected: int) -> None:
        deadline = time.monotonic() + 60
        while status(key) != {expected}:
            assert time.monotonic() < deadline

    assert status(FILED[0]) == {200}
    fresh, entry = make_key("filed-2", "read")
    (root / "keys").write_text(f"{FILED[1]}\n{entry}\n")
    wait_for(fresh, 200)
    assert status(FILED[0]) == {200}
    (root / "keys").write_text(f"{entry}  # the new one\n")
    wait_for(FILED[0], 401)
    (root / "keys").write_text("not an entry")
    deadline = time.monotonic() + 60
    while "the API keys stay as they were" not in (root / "log").read_text():
        assert status(fresh) == {200}
        assert time.monotonic() < deadline
    assert status(fresh) == {200}
    assert status(KEYS["read"][0]) == {200}


def test_pages_of_the_origin_may_read_answers(address: str) -> None:
    asked = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization",
    }
    path = f"{address}/v1/faces/people/ada/pictures"
    preflight = httpx.options(path, headers={"Origin": ORIGIN, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    other = httpx.options(path, headers={"Origin": "https://elsewhere.example", **asked})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers
    for sent, code in (({}, "no-key"), ({"Authorization": f"Bearer {KEYS['read'][0]}"}, None)):
        answer = httpx.get(f"{address}/v1/faces/people", headers={"Origin": ORIGIN, **sent})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.json().get("code") == code
    stranger = httpx.get(f"{address}/v1/models", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in stranger.headers


def test_every_line_of_the_log_is_json(address: str, root: Path) -> None:
    assert address
    lines = [json.loads(line) for line in (root / "log").read_text().splitlines()]
    assert any(line["message"].startswith("model faces on") for line in lines)
    assert {line["logger"].split(".")[0] for line in lines} >= {"bentoml"}
    assert all(line["time"].endswith("Z") for line in lines)
