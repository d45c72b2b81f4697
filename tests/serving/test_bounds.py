"""What a server keeps of what clients send has a bound."""

import ast
import asyncio
import gc
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.faces.gallery import Gallery
from serving.http.access import Access
from serving.inference.models import Models
from serving.settings import read_settings
from serving.worker import Worker
from tests.graphs import tiny_artifact
from tests.pictures import encoded

ROOT = Path(__file__).parents[2]
REQUESTS = 100
CACHES = {"cache", "lru_cache"}
BY_SETTING = ["artifacts/devices.py: _current"]
"""Cached functions whose arguments are settings of the server."""


def unbounded(function: ast.FunctionDef) -> bool:
    """Whether a function keeps all of its answers, and there may be any number of them."""
    for decorator in function.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        name = ast.unparse(decorator if call is None else call.func).rpartition(".")[2]
        if name not in CACHES:
            continue
        sizes = (
            [*call.args, *(k.value for k in call.keywords if k.arg == "maxsize")] if call else []
        )
        bounded = (name == "lru_cache" and not sizes) or any(
            isinstance(size, ast.Constant) and isinstance(size.value, int) for size in sizes
        )
        parameters = function.args
        return not bounded and bool(parameters.args or parameters.kwonlyargs or parameters.vararg)
    return False


def functions(text: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]


def test_cached_functions_keep_a_limited_number_of_answers() -> None:
    files = [file for room in ("serving", "artifacts") for file in (ROOT / room).rglob("*.py")]
    assert [
        f"{file.relative_to(ROOT)}: {function.name}"
        for file in files
        for function in functions(file.read_text(encoding="utf-8"))
        if unbounded(function)
    ] == BY_SETTING
    (bad,) = functions("@functools.lru_cache(maxsize=None)\ndef f(x): ...")
    (good,) = functions("@lru_cache(maxsize=4)\ndef f(x): ...")
    assert unbounded(bad)
    assert not unbounded(good)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A worker that answers in this process."""
    tiny_artifact(tmp_path / "models", "tiny", route="cifar10", default=True)
    worker = Worker(read_settings(), 1, 1)
    worker.app.state.models = Models.load(tmp_path / "models")
    worker.app.state.access = Access()
    worker.app.state.gallery = Gallery(str(tmp_path / "gallery.sqlite3"))
    worker.middleware.closed = None
    return worker


async def ask(http: httpx.AsyncClient, number: int) -> None:
    """Send requests with names, sizes, keys and addresses that no other request has."""
    name = f"name-{number}"
    rows = np.full((1 + number % 30 + 16, 16 + number // 30, 3), number % 200, np.uint8)
    content = encoded(Image.fromarray(rows))
    headers = {"X-Request-Id": name, "Authorization": f"Bearer {name}", "Host": name}
    for method, url, body in [
        ("POST", "/v1/models/tiny/classify", content),
        ("POST", f"/v1/models/tiny/features?{name}", content),
        ("POST", f"/v1/models/tiny/classify?top={name}", content),
        ("POST", f"/v1/models/{name}/classify", content),
        ("POST", f"/v1/{name}/classify", content),
        ("GET", f"/v2/models/{name}", None),
        ("GET", f"/v1/faces/people/{name}", None),
        ("DELETE", f"/{name}/{name}", None),
    ]:
        answer = await http.request(method, url, content=body, headers=headers)
        assert answer.status_code < 500, answer.text
    files = {name: ("file", content)}
    assert (await http.post("/v1/models/tiny/classify", files=files)).status_code == 400


def sizes() -> dict[int, tuple[object, int]]:
    """Every container of this process by its id, and how much is in it.

    The collector does not track dictionaries of plain values; what refers to them it does.
    """
    gc.collect()
    found = gc.get_objects()
    found += gc.get_referents(*found)
    kinds = (dict, list, set, deque)
    return {id(each): (each, len(each)) for each in found if isinstance(each, kinds)}


@pytest.fixture
def everything() -> Iterator[None]:
    """Have the collector list also what `tests/conftest.py` has frozen."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("everything")
def test_nothing_grows_with_what_clients_send(worker: Worker) -> None:
    async def grow() -> list[str]:
        transport = httpx.ASGITransport(worker.outermost, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for number in range(20):  # what is made once
                await ask(http, number)
            before = sizes()
            for number in range(20, 20 + REQUESTS):
                await ask(http, number)
            after = sizes()
        return [
            f"{type(each).__name__} of {length}: {str(each)[:200]}"
            for key, (each, length) in after.items()
            if key in before
            and before[key][0] is each
            and length - before[key][1] > REQUESTS // 2
            and each is not before
        ]

    assert asyncio.run(grow()) == []
