"""`vitrine feedback`: the data set that an export makes is one that `vitrine train` reads."""

import json
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from artifacts.datasets import load
from serving.__main__ import main
from serving.client import Client
from serving.feedback.answer_ids import picture_digest
from serving.feedback.export import export
from serving.feedback.store import FeedbackStore
from tests.commands import Done, run_in_process
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.feedback.conftest import SEVERAL, VERSION
from tests.serving.feedback.test_store import DAY, NOW, said
from training.pictures.collection import read_collection
from training.pictures.inspection import inspect

vitrine = partial(run_in_process, main, "serving")


def kept(seed: int, kind: str = "PNG") -> dict[str, Any]:
    content = encoded(photograph(24, 20, seed), kind)
    return {"picture": picture_digest(content).hex(), "content": content}


def test_an_export_is_read_for_training(store: FeedbackStore, tmp_path: Path) -> None:
    kinds = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PNG")
    for i, kind in enumerate(kinds):
        label = ("red", "blue")[i % 2]
        store.put(f"{i:032x}", said(label=label, **kept(i, kind)))
    store.put("a" * 32, said(label=None, **kept(10)))  # known to be wrong, no more
    store.put("b" * 32, said(label="green"))  # without its picture
    store.put("c" * 32, said(label="green", given=NOW - DAY, **kept(0)))  # older than that above
    done = export(store, tmp_path / "data", None)
    assert (done.answers, done.pictures, done.classes) == (9, 6, 2)
    assert (done.without_picture, done.without_label, done.relabelled) == (1, 1, 1)
    collection = read_collection(tmp_path / "data")
    assert (collection.kind, collection.classes) == ("metadata", ("blue", "red"))
    assert not collection.multi_label
    found = {entry.path.read_bytes(): entry.labels for entry in collection.entries}
    expected = {kept(i, kind)["content"]: (("red", "blue")[i % 2],) for i, kind in enumerate(kinds)}
    assert found == expected
    assert {p.name for p in collection.others} == {"feedback.jsonl"}
    lines = [
        json.loads(line) for line in (tmp_path / "data/feedback.jsonl").read_text().split("\n")[:-1]
    ]
    assert len(lines) == 9
    by_key = {line["feedback"]: line for line in lines}
    assert by_key["a" * 32]["labels"] is None
    assert by_key["b" * 32]["path"] is None
    assert (tmp_path / "data" / by_key[f"{1:032x}"]["path"]).suffix == ".jpg"
    hidden = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert [name for name in hidden if not name.endswith(".reserve")] == []  # of the database


def test_several_labels_are_exported_as_such(store: FeedbackStore, tmp_path: Path) -> None:
    for i, labels in enumerate((["red", "blue"], [], ["green"])):
        values = said(version=SEVERAL.version, probability=None, **kept(i))
        store.put(f"{i:032x}", {**values, "labels": json.dumps(labels)})
    export(store, tmp_path / "data", "several")
    collection = read_collection(tmp_path / "data")
    assert collection.multi_label
    labels = {entry.path.read_bytes(): entry.labels for entry in collection.entries}
    assert labels == {
        kept(0)["content"]: ("red", "blue"),
        kept(1)["content"]: (),
        kept(2)["content"]: ("green",),
    }


@pytest.fixture
def used(tmp_path: Path) -> tuple[Path, list[str]]:
    """A database of a server that classified real requests, and the ids of its answers."""
    test = load("synthetic/objects", "test")
    tiny_artifact(tmp_path / "models", "objects", classes=test.classes)
    with (
        running_server(
            tmp_path / "models", tmp_path / "log", VITRINE_FEEDBACK="pictures"
        ) as address,
        Client(address) as client,
    ):
        chosen = np.flatnonzero(test.labels < 2)[:24].tolist()
        contents = [encoded(Image.fromarray(test.images[i])) for i in chosen]
        ids = [str(picture.id) for picture in client.classify("objects", contents).pictures]
        for name, i, content in zip(ids, chosen, contents, strict=True):
            client.give_feedback(name, test.classes[test.labels[i]], picture=content)
    return tmp_path / "log.sqlite3", ids


def test_what_people_said_is_trained_on(
    used: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, ids = used
    monkeypatch.setenv("VITRINE_DATABASE", str(database))
    monkeypatch.chdir(tmp_path)
    done = vitrine("feedback", "export", "data")
    assert done.status == 0, done.err
    assert "data/metadata.csv: 24 pictures of 2 classes" in done.out
    assert "of 24 answers with feedback: all are in it" in done.out
    inspected = inspect(read_collection(Path("data")))
    assert (sum(inspected.counts.values()), len(inspected.classes)) == (24, 2)
    assert inspected.unreadable == ()
    _check_show_and_erase(database, ids)


def _check_show_and_erase(database: Path, ids: list[str]) -> None:
    shown = json.loads(vitrine("feedback", "show", "--json").out)
    assert [(each["model"], each["answers"], each["pictures"]) for each in shown] == [
        ("objects", 24, 24)
    ]
    assert "objects" in vitrine("feedback", "show").out
    wrong = vitrine("feedback", "erase", ids[0], "0" * 32)
    assert (wrong.status, wrong.err.count("\n")) == (1, 1)
    assert "nothing was erased" in wrong.err
    assert "is not the id" in vitrine("feedback", "erase", "x").err
    assert "feedback about 2 answers" in vitrine("feedback", "erase", *ids[:2]).out
    assert "feedback about 0 answers" in vitrine("feedback", "erase", "--expired").out
    assert "give ids, --all or --expired" in vitrine("feedback", "erase").err
    assert "feedback about 22 answers" in vitrine("feedback", "erase", "--all", "--yes").out
    assert database.exists()


def test_what_cannot_be_exported_is_said(
    store: FeedbackStore, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*arguments: str) -> str:
        done: Done = vitrine("feedback", *arguments)
        assert (done.status, done.err.count("\n")) == (1, 1), done.err
        return done.err

    monkeypatch.setenv("VITRINE_DATABASE", database_url)
    data = tmp_path / "data"
    assert "there is no feedback in" in failed("export", str(data))
    store.put("a" * 32, said(**kept(1)))
    store.put("b" * 32, said(version=SEVERAL.version, probability=None, **kept(1)))
    assert "feedback on several, tiny; choose" in failed("export", str(data))
    assert "no feedback on 'other'" in failed("export", str(data), "--model", "other")
    odd = VERSION._replace(version="5" * 16, model="odd", classes=("a|b", "c"))
    store.add_versions([odd])
    store.put("c" * 32, said("a|b", "a|b", version=odd.version, **kept(2)))
    assert "'a|b' cannot be written" in failed("export", str(data), "--model", "odd")
    assert not data.exists()
    data.mkdir()
    (data / "mine").touch()
    assert "is not empty" in failed("export", str(data), "--model", "tiny")
    monkeypatch.setenv("VITRINE_DATABASE", str(tmp_path / "none.sqlite3"))
    assert "there is no such database" in failed("show")
    assert not (tmp_path / "none.sqlite3").exists()


def test_expired_feedback_is_erased_by_itself(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models", "tiny")
    log = tmp_path / "log"
    store = FeedbackStore(str(log.with_suffix(".sqlite3")))
    store.add_versions([VERSION])
    old, new = NOW.now(NOW.tzinfo) - timedelta(days=8), NOW.now(NOW.tzinfo) - timedelta(days=6)
    store.put("a" * 32, said(given=old, **kept(1)))
    store.put("b" * 32, said(given=new, **kept(2)))
    settings = {"VITRINE_FEEDBACK": "labels", "VITRINE_FEEDBACK_DAYS": "7"}
    with running_server(tmp_path / "models", log, **settings) as address, Client(address) as client:
        while client.feedback_summary().models[0].answers == 2:
            time.sleep(0.1)
        assert client.feedback("b" * 32).given == new
        (figures,) = client.feedback_summary().models
        assert figures.answers == 1
    store.close()
