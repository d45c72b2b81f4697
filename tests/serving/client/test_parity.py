"""Both clients offer the same calls, and these are all that the server offers."""

import inspect
import io
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import httpx

from serving.client import AsyncClient, Client, calls, face_calls, feedback_calls
from serving.client.calls import Call

PICTURE = b"picture"
ARGUMENTS: dict[str, Any] = {
    "after": 0,
    "archive": Path("pictures.zip"),
    "answer": "id",
    "content": io.BytesIO(),
    "first": PICTURE,
    "idempotency_key": None,
    "coverage": None,
    "index": None,
    "keep": None,
    "label": "red",
    "layer": "relu_1",
    "model": None,
    "name": "tiny",
    "person": "ada",
    "picture": PICTURE,
    "pictures": [PICTURE],
    "route": "cifar10",
    "second": PICTURE,
    "size": 0,
    "top": 1,
    "verdict": None,
}
"""A value for every parameter of the functions that describe calls."""


def methods(client: type) -> dict[str, Any]:
    """The public methods of a client, and its constructor."""
    functions = inspect.getmembers(client, inspect.isfunction)
    return {n: f for n, f in functions if n == "__init__" or not n.startswith("_")}


def described(function: Any) -> tuple[Any, ...]:
    """Parameters and result of a method, the same whether it blocks or is awaited."""
    hints = get_type_hints(function)
    result = hints.pop("return")
    if get_origin(result) is AsyncIterator:
        result = Iterator[get_args(result)]
    parameters = inspect.signature(function).parameters.values()
    return (*((p.name, p.kind, p.default, hints.get(p.name)) for p in parameters), result)


def differences(one: type, other: type) -> set[str]:
    """Names of the methods that only one class has, or that have different signatures."""
    ours, theirs = methods(one), methods(other)
    both = ours.keys() & theirs.keys()
    differing = {name for name in both if described(ours[name]) != described(theirs[name])}
    return differing | (ours.keys() ^ theirs.keys())


def test_both_clients_offer_the_same_calls() -> None:
    assert differences(Client, AsyncClient) == set()
    assert {"classify", "drift", "feature_map", "verify", "people"} <= methods(Client).keys()


def test_the_comparison_sees_what_differs() -> None:
    class More(Client):
        def more(self) -> None: ...

    class OtherDefault(AsyncClient):
        async def classify(self, name: str, pictures: list[bytes], top: int = 6) -> None: ...

    class OtherResult(AsyncClient):
        def people(self) -> AsyncIterator[str]: ...

    assert differences(More, AsyncClient) == {"more"}
    assert differences(Client, OtherDefault) == {"classify"}
    assert differences(Client, OtherResult) == {"people"}


def test_everything_of_the_async_client_is_awaited() -> None:
    for name, method in methods(AsyncClient).items():
        iterates = get_origin(get_type_hints(method)["return"]) is AsyncIterator
        assert name == "__init__" or iterates or inspect.iscoroutinefunction(method), name
    assert not any(inspect.iscoroutinefunction(method) for method in methods(Client).values())


def every_call() -> list[Call[Any]]:
    """What each function that describes a call returns."""
    made = []
    for module in (calls, face_calls, feedback_calls):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            if get_origin(get_type_hints(function).get("return")) is Call:
                parameters = inspect.signature(function).parameters.values()
                named = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
                made.append(function(**{name: ARGUMENTS[name] for name in named}))
    return made


def test_the_calls_are_all_that_the_server_offers(http: httpx.Client) -> None:
    offered = {
        (method.upper(), path)
        for path, operations in http.get("/openapi.json").json()["paths"].items()
        for method in operations
        if path.startswith("/v1/")
    }

    def asked(call: Call[Any]) -> set[tuple[str, str]]:
        return {
            (method, path)
            for method, path in offered
            if call.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), call.path)
        }

    found = [asked(call) for call in every_call()]
    assert [len(matches) for matches in found] == [1] * len(found)
    assert set().union(*found) == offered
