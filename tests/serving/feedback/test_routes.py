"""Feedback over HTTP: a server with two workers and an SQLite database."""

import json
import struct
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.client import Client
from serving.feedback import answer_ids
from serving.feedback.answer_ids import make_id
from serving.feedback.store import FeedbackStore
from serving.problems import RequestError
from tests.graphs import CLASSES
from tests.pictures import encoded, photograph
from tests.server import WORKERS, Server, start_server
from tests.serving.http.test_app import form, refused

PICTURE = encoded(photograph(32, 32, 1))
FEEDBACK = "/v1/feedback"


@pytest.fixture(scope="module")
def server(
    classifiers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """The server, and its database."""
    log = tmp_path_factory.mktemp("feedback") / "log"
    server = start_server(classifiers, log, VITRINE_FEEDBACK="pictures", VITRINE_FEEDBACK_DAYS="30")
    yield server, log.with_suffix(".sqlite3")
    server.stop()


@pytest.fixture
def http(server: tuple[Server, Path]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server[0].address, timeout=60) as client:
        yield client


@pytest.fixture
def client(server: tuple[Server, Path]) -> Iterator[Client]:
    with Client(server[0].address) as client:
        yield client


@pytest.fixture(scope="module")
def store(server: tuple[Server, Path]) -> Iterator[FeedbackStore]:
    store = FeedbackStore(str(server[1]))
    yield store
    store.close()


def ask(http: httpx.Client, model: str = "tiny", content: bytes = PICTURE) -> dict[str, Any]:
    """The answer to one picture."""
    answer = http.post(f"/v1/models/{model}/classify", content=content).raise_for_status().json()
    assert answer["feedback"] == "pictures"
    picture: dict[str, Any] = answer["pictures"][0]
    return picture


def give(http: httpx.Client, **given: Any) -> httpx.Response:
    return http.post(FEEDBACK, json=given)


@pytest.mark.parametrize(
    "path", ["/v1/models/tiny/classify", "/v1/models/tiny/classify?top=1", "/v1/cifar10/classify"]
)
def test_every_classified_picture_has_an_id(http: httpx.Client, path: str) -> None:
    answer = http.post(path, files=form(PICTURE, PICTURE, encoded(photograph(48, 40)))).json()
    ids = [picture["id"] for picture in answer["pictures"]]
    assert len(set(ids)) == 3
    for name, picture in zip(ids, answer["pictures"], strict=True):
        stored = give(http, answer=name, verdict="right").json()
        best = picture["top"][0]
        assert stored["predicted"] == stored["labels"] == [best["class"]]
        assert stored["probability"] == pytest.approx(best["probability"], abs=1e-6)
        assert (stored["model"], stored["hash"]) == ("tiny", answer["model"]["hash"])
        assert stored["correct"]
        assert not stored["picture"]


def test_feedback_on_an_answer_replaces_what_was_said(http: httpx.Client) -> None:
    picture = ask(http)
    best, other = (guess["class"] for guess in picture["top"][:2])
    said = []
    for content in (
        {"verdict": "wrong"},
        {"label": other},
        {"label": [best]},
        {"label": best},
        {"verdict": "right"},
    ):
        given = give(http, answer=picture["id"], **content).raise_for_status().json()
        assert http.get(f"{FEEDBACK}/{picture['id']}").json() == given
        assert http.get(f"{FEEDBACK}/{given['id']}").json() == given
        assert datetime.fromisoformat(given["expires"]) - datetime.fromisoformat(
            given["given"]
        ) == timedelta(days=30)
        said.append((given["labels"], given["correct"], given["id"]))
    (name,) = {name for *_, name in said}
    assert said == [
        (None, False, name),
        ([other], False, name),
        ([best], True, name),
        ([best], True, name),
        ([best], True, name),
    ]


def test_a_picture_is_kept_if_it_is_the_one_that_was_answered(
    client: Client, http: httpx.Client, store: FeedbackStore
) -> None:
    content = encoded(photograph(40, 30, 7), "JPEG")
    name = ask(http, content=content)["id"]
    stored = client.give_feedback(name, "red", picture=content)
    assert stored.picture
    assert store.content(stored.id) == content
    assert client.give_feedback(name, "blue").picture
    assert store.content(stored.id) == content
    with pytest.raises(RequestError) as caught:
        client.give_feedback(name, "green", picture=content + b"\0")
    assert caught.value.code == "another-picture"
    assert client.feedback(name).labels == ("blue",)


def test_a_multi_label_answer_takes_several_classes(client: Client, http: httpx.Client) -> None:
    picture = ask(http, "several")
    present = [guess["class"] for guess in picture["top"] if guess["present"]]
    assert "green" in present  # its threshold is 0
    right = client.give_feedback(picture["id"], present[::-1])
    assert (right.correct, set(right.predicted)) == (True, set(present))
    assert right.probability is None
    assert not client.give_feedback(picture["id"], []).correct
    none = client.give_feedback(picture["id"], [], picture=PICTURE)
    assert (none.labels, none.picture) == ((), True)
    assert client.give_feedback(picture["id"], CLASSES, picture=PICTURE).labels == CLASSES
    (figures,) = [each for each in client.feedback_summary().models if each.model == "several"]
    assert (figures.task, figures.ece) == ("multi-label", None)


def test_what_does_not_fit_is_refused(http: httpx.Client) -> None:
    name = ask(http)["id"]
    for bad in (name + "A", "x", "", "é" * 50, name[:-5]):
        assert "classify" in refused(give(http, answer=bad, verdict="right"), "unknown-answer")
    near = refused(give(http, answer=name, label="gren"), "unknown-class")
    assert "did you mean 'green'" in near
    assert "verdict=wrong" in near
    refused(give(http, answer=name, label=["red", "blue"]), "bad-feedback")
    refused(give(http, answer=name, label=[]), "bad-feedback")
    for given in (
        {"answer": name},
        {"answer": name, "label": "red", "verdict": "right"},
        {"answer": name, "verdict": "maybe"},
        {"answer": 5, "verdict": "right"},
        {"verdict": "right"},
        {"answer": name, "verdict": "right", "person": "Ada"},
        {"answer": name, "label": 3},
        {"answer": name, "label": "x" * 1_001},
    ):
        refused(give(http, **given), "bad-feedback")
    for content in (b"", b"junk", b"[]", b"\xff", PICTURE, json.dumps(name).encode()):
        refused(http.post(FEEDBACK, content=content), "bad-feedback")
    for files in (
        [("answer", (None, name)), ("answer", (None, name)), ("verdict", (None, "right"))],
        [("answer", (None, b"\xff")), ("verdict", (None, "right"))],
        [
            ("answer", (None, name)),
            ("verdict", (None, "right")),
            *form(PICTURE, PICTURE),
        ],
    ):
        refused(http.post(FEEDBACK, files=files), "bad-feedback")
    refused(http.get(f"{FEEDBACK}/{name}"), "unknown-feedback")
    refused(http.delete(f"{FEEDBACK}/{name}"), "unknown-feedback")
    refused(http.get(f"{FEEDBACK}/{'0' * 32}"), "unknown-feedback")
    refused(http.get(f"{FEEDBACK}/nothing"), "unknown-answer")
    refused(http.post(FEEDBACK, content=bytes(21_000_000)), "body-too-large")


def test_an_answer_takes_feedback_only_for_some_days(
    http: httpx.Client, store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = (each.version for each in _versions(http, store) if each.model == "tiny")
    now = time.time()
    for days, taken in ((29.9, True), (30.1, False)):
        monkeypatch.setattr(answer_ids.time, "time", lambda at=now - days * 86_400: at)
        name = make_id(store.secret, bytes.fromhex(known), (0,), 0.5, b"")
        given = give(http, answer=name, verdict="right")
        if taken:
            assert given.json()["predicted"] == ["red"]
        else:
            assert "30 days" in refused(given, "unknown-answer")
    other = make_id(b"x" * 32, bytes.fromhex(known), (0,), 0.5, b"")
    refused(give(http, answer=other, verdict="right"), "unknown-answer")


def _versions(http: httpx.Client, store: FeedbackStore) -> list[Any]:
    """The versions of models that have feedback."""
    give(http, answer=ask(http)["id"], verdict="right").raise_for_status()
    return list(store.figures())


def test_erasure_leaves_nothing(
    client: Client, http: httpx.Client, server: tuple[Server, Path]
) -> None:
    content = encoded(photograph(64, 64, 77), "BMP")
    name = ask(http, content=content)["id"]
    client.give_feedback(name, "red", picture=content)
    database = server[1]
    assert content[2000:2300] in _bytes(database)
    receipt = client.erase_feedback(name)
    assert (receipt.picture, receipt.erased, receipt.remains) == (True, True, ())
    assert content[2000:2300] not in _bytes(database)
    assert receipt.id.encode() not in _bytes(database)
    for ask_again in (client.feedback, client.erase_feedback):
        with pytest.raises(RequestError) as caught:
            ask_again(name)
        assert caught.value.code == "unknown-feedback"
    assert client.give_feedback(name, "red").id == receipt.id


def _bytes(database: Path) -> bytes:
    return b"".join(file.read_bytes() for file in database.parent.glob(f"{database.name}*"))


def test_every_worker_takes_feedback_on_the_answers_of_the_others(
    server: tuple[Server, Path],
) -> None:
    clients = []
    for worker in range(WORKERS):
        with server[0].only_worker(worker):
            client = httpx.Client(base_url=server[0].address, timeout=60)
            client.get("/v1/models")
            clients.append(client)
    for number in range(10):
        here, there = clients[number % WORKERS], clients[(number + 1) % WORKERS]
        name = ask(here)["id"]
        given = give(there, answer=name, verdict="wrong").raise_for_status().json()
        for client in clients:
            assert client.get(f"{FEEDBACK}/{name}").json() == given
    for client in clients:
        client.close()


def test_the_figures_are_in_the_summary_and_the_metrics(client: Client, http: httpx.Client) -> None:
    for verdict in ("right", "right", "wrong"):
        client.give_feedback(ask(http)["id"], verdict=verdict)
    summary = client.feedback_summary()
    assert (summary.keeps, summary.days) == ("pictures", 30)
    (tiny,) = [each for each in summary.models if each.model == "tiny"]
    assert tiny.answers > tiny.correct >= 2
    assert tiny.accuracy == tiny.correct / tiny.answers
    text = http.get("/metrics").text
    labels = f'model="tiny",version="{tiny.version}"'
    found = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("vitrine_feedback")
    )
    right, wrong = (
        float(
            found[
                f'vitrine_feedback_answers{{model="tiny",result="{result}",version="{tiny.version}"}}'
            ]
        )
        for result in ("right", "wrong")
    )
    assert (right, right + wrong) == (tiny.correct, tiny.answers)
    assert float(found[f"vitrine_feedback_calibration_error{{{labels}}}"]) == tiny.ece
    assert float(found[f"vitrine_feedback_brier_score{{{labels}}}"]) == tiny.brier


def test_an_id_says_nothing_that_the_answer_does_not(http: httpx.Client) -> None:
    """Of the picture it holds half a sha256, and nothing of the request."""
    picture = ask(http)
    size = struct.calcsize(">BI6s8sfH") + 2 + 16 + 16
    assert len(picture["id"]) == -(-size * 4 // 3)
