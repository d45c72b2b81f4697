"""Feedback that is off, that keeps no pictures, that needs keys, and whose database is down."""

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.client import Client
from serving.http.access import make_key
from serving.problems import RequestError
from tests.databases import MISSING, new_database, postgresql_programs, running_postgresql
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server, start_server
from tests.serving.http.test_app import refused

PICTURE = encoded(photograph(32, 32, 1))
READER, READ = make_key("reader", "read")
WRITER, WRITE = make_key("writer", "read+write")


def answer_id(client: Client, model: str = "tiny") -> str:
    name = client.classify(model, [PICTURE]).pictures[0].id
    assert name is not None
    return name


def test_by_default_nothing_is_taken(http: httpx.Client) -> None:
    answer = http.post("/v1/models/tiny/classify", content=PICTURE).json()
    assert "feedback" not in answer
    assert set(answer["pictures"][0]) == {"size", "shown", "treatment", "top"}
    for response in (
        http.post("/v1/feedback", json={"answer": "x", "verdict": "right"}),
        http.get("/v1/feedback"),
        http.get("/v1/feedback/x"),
        http.delete("/v1/feedback/x"),
    ):
        assert "VITRINE_FEEDBACK" in refused(response, "feedback-off")


@pytest.fixture(scope="module")
def keyed(classifiers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with keys that takes labels only."""
    log = tmp_path_factory.mktemp("keyed") / "log"
    settings = {"VITRINE_API_KEYS": f"{READ} {WRITE}", "VITRINE_FEEDBACK": "labels"}
    with running_server(classifiers, log, **settings) as address:
        yield address


def test_pictures_are_refused_where_labels_are_kept(keyed: str) -> None:
    with Client(keyed, WRITER) as client:
        name = answer_id(client)
        with pytest.raises(RequestError) as caught:
            client.give_feedback(name, "red", picture=PICTURE)
        assert caught.value.code == "picture-not-kept"
        assert not client.give_feedback(name, "red").picture
        assert client.feedback_summary().keeps == "labels"


def test_keys_decide_who_gives_feedback(keyed: str) -> None:
    with Client(keyed, WRITER) as writer:
        name = answer_id(writer)
        writer.give_feedback(name, "red")
    for key, code, reads in ((None, "no-key", False), (READER, "scope-missing", True)):
        with Client(keyed, key) as client:
            for ask in (
                lambda: client.give_feedback(name, "red"),
                lambda: client.erase_feedback(name),
            ):
                with pytest.raises(RequestError) as caught:
                    ask()
                assert caught.value.code == code
            if reads:
                assert client.feedback(name).labels == ("red",)
                assert client.feedback_summary().models
            else:
                for ask_ in (client.feedback_summary, lambda: client.feedback(name)):
                    with pytest.raises(RequestError, match="key"):
                        ask_()


def test_feedback_can_be_opened_and_outlives_a_restart(classifiers: Path, tmp_path: Path) -> None:
    """Without a key, feedback can be given and taken back by the id, and no figures are shown."""
    models = tmp_path / "models"
    shutil.copytree(classifiers, models)
    settings = {"VITRINE_API_KEYS": READ, "VITRINE_OPEN": "feedback", "VITRINE_FEEDBACK": "labels"}
    server = start_server(models, tmp_path / "log", **settings)
    with Client(server.address) as client:
        early, late = answer_id(client), answer_id(client)
        client.give_feedback(early, "blue")
        client.erase_feedback(early)
        given = client.give_feedback(early, "blue")
        with pytest.raises(RequestError, match="key"):
            client.feedback_summary()
    server.kill()  # what was acknowledged is on disk
    shutil.rmtree(models / "tiny")
    tiny_artifact(models, "tiny", classes=("left", "right"))
    with (
        running_server(models, tmp_path / "log", **settings) as address,
        Client(address) as client,
    ):
        assert client.feedback(early) == given
        # about an answer of the model as it was
        replaced = client.give_feedback(late, "red")
        assert (replaced.hash, replaced.version) == (given.hash, given.version)
        now = client.give_feedback(answer_id(client), "left")
        assert now.version != given.version


def test_classifying_goes_on_while_the_database_is_down(classifiers: Path, tmp_path: Path) -> None:
    programs = postgresql_programs()
    if programs is None:
        pytest.skip(MISSING)
    with running_postgresql(programs) as url:
        database = new_database(url, f"feedback_{uuid.uuid4().hex}")
        server = start_server(
            classifiers, tmp_path / "log", VITRINE_DATABASE=database, VITRINE_FEEDBACK="labels"
        )
        with Client(server.address) as client:
            name = answer_id(client)
            receipt_of = client.give_feedback(name, "red")
            receipt = client.erase_feedback(name)
            assert receipt.id == receipt_of.id
            assert not receipt.erased
            assert "VACUUM FULL" in receipt.remains[0]
    try:
        with Client(server.address) as client:
            again = answer_id(client)
            with pytest.raises(RequestError) as caught:
                client.give_feedback(again, "red")
            assert (caught.value.code, caught.value.status) == ("feedback-unavailable", 503)
            assert "vitrine@" not in str(caught.value)
            metrics = httpx.get(f"{server.address}/metrics", timeout=60).text
            assert "vitrine_requests_total" in metrics
    finally:
        server.stop()


def test_a_server_that_starts_before_its_database_takes_feedback_later(
    classifiers: Path, tmp_path: Path
) -> None:
    database = tmp_path / "feedback.sqlite3"
    database.mkdir()  # which is no database
    with (
        running_server(
            classifiers,
            tmp_path / "log",
            VITRINE_DATABASE=str(database),
            VITRINE_FEEDBACK="labels",
        ) as address,
        Client(address) as client,
    ):
        assert client.classify("tiny", [PICTURE]).pictures[0].id is None
        with pytest.raises(RequestError) as caught:
            client.give_feedback("x", "red")
        assert caught.value.code == "feedback-unavailable"
        database.rmdir()
        deadline = time.monotonic() + 60
        while client.classify("tiny", [PICTURE]).pictures[0].id is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert client.give_feedback(answer_id(client), "red").labels == ("red",)
