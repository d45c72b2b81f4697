"""An overloaded server, which loads new artifacts meanwhile."""

import asyncio
import json
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryFile

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.body import read_to_file
from serving.http.middleware import Middleware
from serving.inference.admission import MIN_PIXELS, Budget
from serving.pictures.cancellation import Cancelled, run, still_wanted
from serving.pictures.decode import decode_pictures
from serving.pictures.header import open_pictures
from serving.problems import RequestError
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import bomb, encoded, photograph
from tests.server import Server, start_server
from tests.serving.http.test_app import CLASSIFY, refused
from tests.serving.pictures.test_decode import POLICY

MEGAPIXELS = 20
LARGE = bomb(4096)
SMALL = encoded(photograph(40, 30))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("traffic")
    tiny_artifact(root / "models", "tiny", route="cifar10", default=True)
    face_artifact(root / "models")
    settings = {
        "VITRINE_MEGAPIXELS": str(MEGAPIXELS),
        "VITRINE_TIMEOUT": "20",
        "VITRINE_LOG_REQUESTS": "1",
    }
    server = start_server(root / "models", root / "log.txt", **settings)
    yield server
    server.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=60) as client:
        yield client


def metric(http: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    assert found or "{" in name, f"{name} is not served"  # those with labels come with their use
    return float(found[1]) if found else 0.0


def wait_for(http: httpx.Client, name: str, value: float) -> None:
    deadline = time.monotonic() + 60
    while metric(http, name) != value:
        assert time.monotonic() < deadline, f"{name} is {metric(http, name)}"
        time.sleep(0.1)


def test_what_does_not_fit_is_refused_and_a_lone_request_is_not() -> None:
    budget = Budget(pixels=10 * MIN_PIXELS, size=100)
    first, second = budget.place(), budget.place()
    first.take_pixels([50 * MIN_PIXELS])
    first.take_bytes(500)
    for take in (lambda: second.take_pixels([1]), lambda: second.take_bytes(1)):
        with pytest.raises(RequestError) as caught:
            take()
        assert caught.value.code == "overloaded"
    first.release()
    second.take_pixels([1] * 9)
    first.take_pixels([2])
    with pytest.raises(RequestError):
        second.take_pixels([1])
    first.release()
    second.release()
    assert (budget.pixels_taken, budget.bytes_taken) == (0, 0)


def test_a_request_may_wait_for_room_and_disk_is_bounded() -> None:
    budget = Budget(pixels=10 * MIN_PIXELS, disk=100)
    first, second = budget.place(), budget.place()
    assert first.has_room([50 * MIN_PIXELS])
    first.take_pixels([8 * MIN_PIXELS])
    assert second.has_room([1, 1])
    assert not second.has_room([1, 1, 1])
    first.give_pixels()
    assert second.has_room([1, 1, 1])
    first.take_disk(500)
    with pytest.raises(RequestError) as caught:
        second.take_disk(1)
    assert caught.value.code == "overloaded"
    first.release()
    second.take_disk(100)
    second.release()
    assert (budget.pixels_taken, budget.disk_taken) == (0, 0)


def ask(app: ASGIApp, *pieces: bytes, budget: Budget | None = None) -> list[Message]:
    """What an application answers to a body, with the middleware around it."""
    middleware = Middleware(app, 5, budget or Budget(pixels=1), log_all=False)
    middleware.closed = None
    bodies = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages = iter([*bodies, {"type": "http.request"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages, None) or await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(middleware(scope, receive, send))
    return sent


def test_a_body_that_goes_to_a_file_takes_no_room() -> None:
    budget = Budget(pixels=1, size=100)
    other = budget.place()
    other.take_bytes(10)
    pieces = [bytes([i]) * 60 for i in range(5)]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with TemporaryFile() as file:
            await read_to_file(Request(scope, receive), file, 1000)
            file.seek(0)
            content = file.read()
        await Response(content)(scope, receive, send)

    assert ask(app, *pieces, budget=budget)[1]["body"] == b"".join(pieces)
    assert budget.bytes_taken == 10


@pytest.mark.parametrize("error", [RuntimeError("mine"), TimeoutError("mine")])
@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_is_logged_before_and_after_its_answer_has_begun(
    error: Exception, caplog: pytest.LogCaptureFixture, *, begun: bool
) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    first, *_ = ask(app)
    assert first["status"] == (200 if begun else 500)
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


def test_work_that_nobody_waits_for_is_not_begun_or_stops() -> None:
    begun, go_on, stopped = threading.Event(), threading.Event(), threading.Event()
    never = threading.Event()

    def work() -> None:
        still_wanted()
        begun.set()
        go_on.wait()
        try:
            decode_pictures(open_pictures([SMALL], POLICY))
        except Cancelled:
            stopped.set()

    async def ask() -> None:
        with ThreadPoolExecutor(1) as pool:
            running, waiting = (asyncio.ensure_future(run(pool, w)) for w in (work, never.set))
            await asyncio.to_thread(begun.wait)
            running.cancel()
            waiting.cancel()
            await asyncio.wait([running, waiting])
            go_on.set()

    asyncio.run(ask())
    assert stopped.is_set()
    assert not never.is_set()


def test_overload_is_refused_with_a_time_to_come_back(http: httpx.Client, server: Server) -> None:
    async def storm() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=0)
        picture = bomb(1024)
        async with httpx.AsyncClient(base_url=server.address, timeout=280, limits=limits) as many:
            requests = (many.post(CLASSIFY, content=picture) for _ in range(256))
            return await asyncio.gather(*requests)

    responses = asyncio.run(storm())
    statuses = Counter(response.status_code for response in responses)
    assert set(statuses) <= {200, 429, 503}  # 503: a busy machine may be late
    assert statuses[200] >= MEGAPIXELS * 1_000_000 // 1024**2  # one worker may get them all
    assert statuses[429] > 0
    for response in responses:
        if response.status_code != 200:
            refused(response, {429: "overloaded", 503: "answer-too-late"}[response.status_code])
            assert int(response.headers["retry-after"]) >= 1
    assert http.post(CLASSIFY, content=SMALL).status_code == 200
    assert metric(http, "vitrine_pixels_in_flight") == 0
    assert metric(http, 'vitrine_refusals_total{code="overloaded"}') == statuses[429]


def test_one_request_larger_than_the_budget_is_taken(http: httpx.Client) -> None:
    files = [("image", ("picture", LARGE))] * 2
    assert http.post(CLASSIFY, files=files).status_code == 200


def test_a_client_that_goes_away_frees_its_place(http: httpx.Client, server: Server) -> None:
    address = server.address.removeprefix("http://").split(":")
    gone = f'vitrine_requests_total{{route="{CLASSIFY.replace("tiny", "{name}")}",status="499"}}'
    before = metric(http, gone)
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: "
    for announced in (len(LARGE), 10**6):  # after its body, and in the midst of it
        with socket.create_connection((address[0], int(address[1]))) as client:
            client.sendall(f"{head}{announced}\r\n\r\n".encode() + LARGE)
    wait_for(http, gone, before + 2)
    assert metric(http, "vitrine_pixels_in_flight") == 0


def test_an_answer_comes_whole_and_the_connection_ends_behind_it(server: Server) -> None:
    address = server.address.removeprefix("http://").split(":")
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(SMALL)}\r\n"
    with socket.create_connection((address[0], int(address[1]))) as client:
        client.settimeout(60)
        for last in (False, True):
            ending = "Connection: close\r\n\r\n" if last else "\r\n"
            client.sendall(f"{head}{ending}".encode() + SMALL)
            received = b""
            while b"\r\n\r\n" not in received:
                received += client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 ")
            headers, body = received.split(b"\r\n\r\n", 1)
            length = int(re.search(rb"content-length: (\d+)", headers)[1])
            while len(body) < length:
                body += client.recv(65536)
            assert len(body) == length
            assert (b"connection: close" in headers) is last
        assert client.recv(65536) == b""


def test_labels_do_not_grow_with_addresses(http: httpx.Client) -> None:
    for i in range(50):
        http.get(f"/made-up-{i}")
        http.get(f"/v1/models/made-up-{i}")
        http.request(f"METHOD{i}", "/v1/models")
    assert http.post(CLASSIFY, content=SMALL).status_code == 200
    text = http.get("/metrics").text
    assert "made-up" not in text
    assert "METHOD" not in text
    assert metric(http, 'vitrine_requests_total{route="none",status="404"}') >= 50
    assert metric(http, 'vitrine_requests_total{route="/v1/models/{name}",status="404"}') >= 50
    assert metric(http, 'vitrine_pictures_total{model="tiny"}') > 0
    assert metric(http, "vitrine_gallery_pictures") == 0
    put = http.put("/v1/faces/people/a/pictures?aligned=true", content=SMALL)
    assert put.status_code == 200
    assert metric(http, "vitrine_gallery_pictures") == 1


def test_batches_and_how_long_they_waited_are_counted(http: httpx.Client) -> None:
    names = [
        f"vitrine_{name}"
        for name in (
            'batch_pictures_sum{model="tiny"}',
            'batch_pictures_count{model="tiny"}',
            'queue_seconds_count{queue="batch"}',
            'queue_seconds_count{queue="thread"}',
        )
    ]
    before = [metric(http, name) for name in names]
    files = [("image", ("picture", encoded(photograph(160, 160))))] * 3
    assert http.post(CLASSIFY, files=files).status_code == 200
    more = [metric(http, name) - old for name, old in zip(names, before, strict=True)]
    assert (more[0], more[3]) == (3, 1)
    assert 1 <= more[1] == more[2] <= 3
    assert metric(http, "vitrine_queued_pictures") == 0


def test_the_log_has_a_line_of_json_for_a_request(server: Server, http: httpx.Client) -> None:
    response = http.post(CLASSIFY, content=SMALL, headers={"X-Request-Id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    bad = http.post(CLASSIFY, content=SMALL, headers={"X-Request-Id": 'a" b\\'})
    assert re.fullmatch("[0-9a-f]{32}", bad.headers["x-request-id"])
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    (mine,) = [e for e in map(json.loads, lines) if e.get("request_id") == "mine-1"]
    assert (mine["status"], mine["method"], mine["path"]) == (200, "POST", CLASSIFY)
    assert mine["route"] == "/v1/models/{name}/classify"


def test_every_answer_has_the_security_headers(http: httpx.Client) -> None:
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for response in (
        http.get("/docs"),
        http.get("/nothing"),
        http.post(CLASSIFY, content=SMALL, headers=preflight),
        http.options(CLASSIFY, headers=preflight),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "server" not in response.headers
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert "default-src 'self'" in http.get("/docs").headers["content-security-policy"]


def test_new_artifacts_are_taken_up_while_requests_are_answered(
    server: Server, http: httpx.Client
) -> None:
    root = server.log.parent / "models"
    stop = threading.Event()
    answers: list[tuple[int, str]] = []

    def go_on_asking() -> None:
        with httpx.Client(base_url=server.address, timeout=60) as client:
            while not stop.is_set():
                response = client.post(CLASSIFY, content=SMALL)
                answers.append((response.status_code, response.json()["model"]["hash"]))

    old = http.get("/v1/models/tiny").json()["hash"]
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(go_on_asking) for _ in range(3)]
        try:
            shutil.rmtree(root / "tiny")
            new = tiny_artifact(root, "tiny", route="cifar10", classes=("left", "right")).hash
            tiny_artifact(root, "another")
            assert http.post("/v1/models:reload").status_code == 200
            for _ in range(20):  # each on a connection of its own, so with any worker
                fresh = httpx.get(f"{server.address}/v1/models").json()["models"]
                assert {m["name"]: m["hash"] for m in fresh}["tiny"] == new
                assert "another" in {m["name"] for m in fresh}
        finally:
            stop.set()
        for asked in asking:
            asked.result()
    assert {status for status, _ in answers} == {200}
    assert {hash_ for _, hash_ in answers} <= {old, new}


def test_a_deadline_that_cannot_be_met_is_refused(http: httpx.Client) -> None:
    late = http.post(CLASSIFY, content=SMALL, headers={"X-Request-Timeout": "0.000001"})
    refused(late, "answer-too-late")
    assert int(late.headers["retry-after"]) >= 1
    timely = http.post(CLASSIFY, content=SMALL, headers={"X-Request-Timeout": "999"})
    assert timely.status_code == 200
    for given in ("soon", "0", "-1", "1e3", "nan", ""):
        wrong = http.post(CLASSIFY, content=SMALL, headers={"X-Request-Timeout": given})
        assert "X-Request-Timeout" in refused(wrong, "bad-parameter")


def test_a_client_is_not_behind_what_others_have_queued(server: Server) -> None:
    """Of many large requests, hardly any is answered before a small one that came after them."""
    large = [("image", ("picture", encoded(photograph(160, 160))))] * 64
    small = encoded(photograph(400, 300))  # decoded in a thread, as the large requests are
    answered: list[str] = []

    async def ask() -> None:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=server.address, timeout=200, limits=limits) as client:

            async def heavy() -> None:
                response = await client.post(CLASSIFY, files=large)
                answered.append(f"large {response.status_code}")

            tasks = [asyncio.create_task(heavy()) for _ in range(5)]  # what fits
            await asyncio.sleep(0.05)  # they are sent first
            response = await client.post(CLASSIFY, content=small)
            answered.append(f"small {response.status_code}")
            await asyncio.gather(*tasks)

    with server.only_worker(0):
        asyncio.run(ask())
    assert sorted(set(answered)) == ["large 200", "small 200"]
    assert answered.index("small 200") <= 2


async def _sleeps(_: Scope, receive: Receive, __: Send) -> None:
    await receive()
    await asyncio.sleep(60)


def test_the_deadline_counts_from_the_end_of_the_body(caplog: pytest.LogCaptureFixture) -> None:
    middleware = Middleware(_sleeps, 50, Budget(pixels=1), log_all=False, deadline=0.05)
    middleware.closed = None
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0.2 if not received else 60)  # longer than the deadline
        received.append(1)
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    received: list[int] = []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(middleware(scope, receive, send))
    assert sent[0]["status"] == 503
    assert b"answer-too-late" in sent[1]["body"]
    assert not caplog.records, "what load has refused is counted, and not logged"
