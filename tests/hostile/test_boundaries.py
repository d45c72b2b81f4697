"""Every parameter of the OpenAPI document, with values at and beyond the bounds of every type.

The document is walked, so that a parameter that is added is tested, too.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import quote, quote_from_bytes

import httpx
import numpy as np
import pytest

from serving.http.access import make_key
from serving.problems import KINDS, MEDIA_TYPE
from tests.databases import MISSING, postgresql_programs, running_postgresql
from tests.graphs import face_artifact, tiny_artifact, with_atlas
from tests.pictures import encoded, photograph
from tests.server import running_server

PICTURE = encoded(photograph(96, 96))
KEY, ENTRY = make_key("boundaries", "read+write")
POWERS = (31, 32, 53, 63, 64)
NUMBERS = tuple(
    str(sign * 2**power + by) for power in POWERS for sign in (1, -1) for by in (-1, 0, 1)
)
VALUES: tuple[bytes, ...] = (
    *(
        number.encode()
        for number in ("-1", "0", "1", "-0", "+1", "1.0", "1e3", "1_0", " 1", *NUMBERS)
    ),
    b"1" + b"0" * 400,
    b"1" + b"0" * 5000,
    b"1e400",
    b"-1e400",
    b"1e-400",
    *(b"NaN", b"nan", b"inf", b"-Infinity", b"true", b"null"),
    b"",
    b"\0",
    b"a\0b",
    "²".encode(),
    "é\u200b\U0001f600".encode(),
    b"\xed\xa0\x80",  # a lone surrogate, as an encoder without checks writes it
    b"\xff\xfe",
    b"a" * 20_000,
    b"%00",
    b"../..",
    b"'; drop table people --",
)
GOOD = {
    "name": "tiny",
    "route": "cifar10",
    "person": "ada",
    "picture": "0" * 32,
    "answer": "0" * 32,
    "layer": "relu_1",
    "version": "1",
}
"""A good value of each parameter that is needed."""


class Operation(NamedTuple):
    """One operation of the document."""

    method: str
    path: str
    parameters: tuple[dict[str, Any], ...]
    bodies: dict[str, Any]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def http(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("boundaries")
    model = tiny_artifact(root / "models", "tiny", route="cifar10", default=True)
    with_atlas(model, [np.asarray(photograph(40, 30, seed)) for seed in range(3)])
    face_artifact(root / "models")
    settings = {"VITRINE_API_KEYS": ENTRY, "VITRINE_FEEDBACK": "pictures"}
    with ExitStack() as stack:
        if request.param == "postgresql":
            programs = postgresql_programs()
            if programs is None:
                pytest.skip(MISSING)
            settings["VITRINE_DATABASE"] = stack.enter_context(running_postgresql(programs))
        server = running_server(root / "models", root / "log.txt", **settings)
        address = stack.enter_context(server)
        key = {"Authorization": f"Bearer {KEY}"}
        client = stack.enter_context(httpx.Client(base_url=address, timeout=60, headers=key))
        person = client.put("/v1/faces/people/ada/pictures?aligned=true", content=PICTURE)
        assert person.status_code == 200, person.text
        yield client


def operations(document: dict[str, Any]) -> list[Operation]:
    """Return every operation of an OpenAPI document, with its parameters and bodies."""
    return [
        Operation(
            method.upper(),
            path,
            tuple(described.get("parameters", ())),
            described.get("requestBody", {}).get("content", {}),
        )
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def types(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a schema's alternatives, such as those of `integer | null`."""
    parts = [part for kind in ("anyOf", "oneOf") for part in schema.get(kind, ())]
    return [each for part in parts for each in types(part)] or [schema]


def integers(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema of an integer within a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield schema
        for part in schema.values():
            yield from integers(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from integers(part)


def allowed(schema: dict[str, Any], value: bytes) -> bool | None:
    """Whether a parameter's schema allows a value; None if this cannot be told from the schema."""
    kinds = types(schema)
    if {kind.get("type") for kind in kinds} - {"integer", "null"}:
        return None
    if not re.fullmatch(rb"[+-]?[0-9]{1,4000}", value):
        return False if re.search(rb"[^0-9._+\s-]", value) or not value else None
    number = int(value)
    return any(k["minimum"] <= number <= k["maximum"] for k in kinds if k["type"] == "integer")


def send(
    http: httpx.Client, operation: Operation, place: str, name: str, value: bytes
) -> httpx.Response:
    """Send a request that is good except for one parameter, which has a value as raw bytes."""
    path = operation.path
    query, headers = [], {}
    for parameter in operation.parameters:
        its = parameter["name"]
        chosen = (place, name) == (parameter["in"], its)
        raw = value if chosen else GOOD.get(its, "").encode()
        if parameter["in"] == "path":
            path = path.replace(f"{{{its}}}", quote_from_bytes(raw, safe=""))
        elif chosen and parameter["in"] == "header":
            headers[its.encode()] = raw.replace(b"\0", b"").strip()  # a client must not send more
        elif chosen or parameter.get("required"):
            query.append(f"{quote(its)}={quote_from_bytes(raw, safe='')}")
    if any(kind.startswith("image/") for kind in operation.bodies):
        headers[b"Content-Type"], body = b"image/png", PICTURE
    elif operation.path == "/v1/faces/verify":
        headers[b"Content-Type"], body = form({"first": PICTURE, "second": PICTURE})
    else:
        body = b""
    target = (path + ("?" + "&".join(query) if query else "")).encode()
    return http.request(
        operation.method,
        "/",
        headers=list(headers.items()),
        content=body,
        extensions={"target": target},  # sent as it is
    )


def form(fields: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Return the media type and the body of a multipart form."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), content)
        for name, content in fields.items()
    ]
    return b"multipart/form-data; boundary=x", b"".join(parts) + b"--x--\r\n"


def complaint(response: httpx.Response, path: str) -> str | None:
    """Return what is wrong with an answer to a request with an odd value, or None."""
    if response.status_code < 300:
        return None
    kind = response.headers.get("content-type")
    form = "application/json" if path.startswith("/v2") else MEDIA_TYPE
    if not 400 <= response.status_code < 500 or kind != form:
        return f"{response.status_code} {response.text[:200]}"
    problem = response.json()
    if KINDS[problem["code"]].status != response.status_code:
        return f"{response.status_code} is not the status of {problem['code']}"
    return None


def test_integers_have_the_bounds_of_their_type(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    found = [
        (f"{operation.method} {operation.path}", name, schema)
        for operation in operations(document)
        for name, part in [
            *((parameter["name"], parameter["schema"]) for parameter in operation.parameters),
            *((kind, body) for kind, body in operation.bodies.items()),
        ]
        for schema in integers(part)
    ]
    assert len(found) >= 6
    for where, name, schema in found:
        assert -(2**63) <= schema["minimum"] <= schema["maximum"] < 2**63, (where, name)


def test_parameters_are_refused_or_answered(http: httpx.Client) -> None:
    wrong = []
    asked = 0
    for operation in operations(http.get("/openapi.json").json()):
        if operation.path == "/v1/models:reload":
            assert not operation.parameters
        for parameter in operation.parameters:
            for value in VALUES:
                place, name = parameter["in"], parameter["name"]
                try:
                    response = send(http, operation, place, name, value)
                except httpx.TransportError as error:
                    wrong.append(
                        f"{operation.method} {operation.path} {name}={value[:30]!r}: {error!r}"
                    )
                    continue
                asked += 1
                told = complaint(response, operation.path)
                fits = None if place == "path" else allowed(parameter["schema"], value)
                if told is None and fits is not None and (response.status_code == 200) != fits:
                    told = (
                        f"{response.status_code}, although allowed is {fits}: {response.text[:100]}"
                    )
                if told:
                    wrong.append(
                        f"{operation.method} {operation.path} {name}={value[:30]!r}: {told}"
                    )
    assert asked > 1000
    assert wrong == []


def json_values() -> Iterator[str]:
    """Yield JSON texts of values of all kinds, valid or not."""
    yield from NUMBERS
    yield from ("1" + "0" * 400, "1e400", "-1e400", "NaN", "Infinity", "null", "true", "[]", "{}")
    yield from ('""', r'"\u0000"', r'"\ud800"', r'"\ud83d\ude00"', json.dumps("a" * 20_000))
    yield from ('["a", "b"]', "[" * 10_000, json.dumps(["a"] * 5_000))


def test_fields_of_json_are_refused(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    wrong = []
    asked = 0
    for operation in operations(document):
        schema = operation.bodies.get("application/json", {}).get("schema", {})
        for name in schema.get("properties", ()):
            for value in json_values():
                good = {"answer": "0" * 32, "verdict": "wrong"}
                good.pop(name, None)
                text = "{" + "".join(f'"{k}": "{v}", ' for k, v in good.items())
                body = f'{text}"{name}": {value}}}'.encode()
                headers = {"Content-Type": "application/json"}
                path = operation.path.replace("{name}", GOOD["name"])
                response = http.request(operation.method, path, content=body, headers=headers)
                asked += 1
                if told := complaint(response, path) or (response.status_code < 300 and "accepted"):
                    wrong.append(f"{operation.path} {name}={value[:30]}: {told}")
    assert asked > 50
    assert wrong == []


def test_fields_of_forms_are_refused_or_answered(http: httpx.Client) -> None:
    wrong = []
    asked = 0
    for operation in operations(http.get("/openapi.json").json()):
        schema = operation.bodies.get("multipart/form-data", {}).get("schema", {})
        path = operation.path
        for parameter in operation.parameters:
            path = path.replace(f"{{{parameter['name']}}}", GOOD.get(parameter["name"], ""))
        query = {p["name"]: GOOD[p["name"]] for p in operation.parameters if p.get("required")}
        query = {k: v for k, v in query.items() if f"{{{k}}}" not in operation.path}
        for name in schema.get("properties", ()):
            for value in VALUES:
                fields = dict.fromkeys(schema["required"], PICTURE)
                media, body = form({**fields, name: value})
                response = http.request(
                    operation.method,
                    path,
                    params=query,
                    content=body,
                    headers={"Content-Type": media.decode()},
                )
                asked += 1
                if told := complaint(response, path):
                    wrong.append(f"{operation.path} {name}={value[:30]!r}: {told}")
    assert asked > 300
    assert wrong == []
