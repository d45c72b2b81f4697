"""The store of feedback, on both databases; two stores are two workers."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, update

from analysis.calibration import reliability
from artifacts import VitrineError
from artifacts.calibration import bins_of
from serving.faces.gallery import Gallery
from serving.feedback.store import PAGE_SIZE, FeedbackStore, Version
from serving.feedback.tables import feedback, state
from tests.serving.feedback.conftest import SEVERAL, VERSION

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def said(predicted: str = "red", label: str | None = "red", **others: Any) -> dict[str, Any]:
    """Values of the columns of feedback."""
    probability = others.pop("probability", 0.5)
    return {
        "version": VERSION.version,
        "answered": NOW,
        "given": NOW,
        "actor": "test",
        "predicted": json.dumps([predicted]),
        "probability": probability,
        "bin": None if probability is None else int(bins_of(probability)),
        "labels": None if label is None else json.dumps([label]),
        "correct": predicted == label,
        **others,
    }


@pytest.fixture
def other_worker(database_url: str) -> Iterator[FeedbackStore]:
    other = FeedbackStore(database_url)
    yield other
    other.close()


def test_workers_share_the_secret_the_versions_and_the_feedback(
    store: FeedbackStore, other_worker: FeedbackStore
) -> None:
    assert store.secret == other_worker.secret
    assert len(store.secret) == 32
    other_worker.add_versions([VERSION, VERSION._replace(version="2" * 16)])
    assert store.version("2" * 16) == VERSION._replace(version="2" * 16)
    assert store.version("3" * 16) is None
    store.put("a" * 32, said())
    row = other_worker.get("a" * 32)
    assert row is not None
    assert (row.predicted, row.labels, row.correct) == (("red",), ("red",), True)
    assert (row.given, row.model, row.hash) == (NOW, "tiny", "a" * 64)
    assert other_worker.get("b" * 32) is None


def test_feedback_is_replaced_and_its_picture_stays(store: FeedbackStore) -> None:
    store.put("a" * 32, said(picture="d" * 32, content=b"bytes"))
    store.put("a" * 32, said(label="blue", given=NOW + DAY))
    (row,) = store.rows()
    assert (row.labels, row.correct, row.given) == (("blue",), False, NOW + DAY)
    assert (row.picture, store.content("a" * 32)) == ("d" * 32, b"bytes")


def test_many_workers_write_about_one_answer(
    store: FeedbackStore, other_worker: FeedbackStore
) -> None:
    labels = ["red", "green", "blue"] * 6
    with ThreadPoolExecutor(8) as pool:
        for number, label in enumerate(labels):
            pool.submit((store, other_worker)[number % 2].put, "a" * 32, said(label=label))
    (row,) = store.rows()
    assert row.labels is not None
    assert row.labels[0] in labels


def test_figures_are_those_of_the_analysis(store: FeedbackStore) -> None:
    random = np.random.default_rng(0)
    probabilities = random.uniform(0.34, 1, 200)
    right = random.uniform(size=200) < probabilities
    rows = [
        {"key": f"{i:032x}", **said(label="red" if correct else None, probability=probability)}
        for i, (probability, correct) in enumerate(zip(probabilities.tolist(), right, strict=True))
    ]
    with store.write() as connection:
        connection.execute(insert(feedback), rows)
        connection.execute(
            update(feedback).where(feedback.c.key < f"{7:032x}").values(picture="d" * 32)
        )
    (found,) = store.figures()
    other = (1 - probabilities) / 2
    spread = np.stack([probabilities, other, other], 1)
    expected = reliability("", spread, np.where(right, 0, 1))
    assert (found.model, found.version, found.task) == ("tiny", "0" * 16, "classification")
    assert (found.answers, found.correct) == (200, right.sum())
    assert (found.labelled, found.pictures) == (right.sum(), 7)
    assert found.accuracy == right.mean()
    assert found.interval[0] < found.accuracy < found.interval[1]
    assert found.confidence == pytest.approx(probabilities.mean())
    assert found.ece == pytest.approx(expected.ece)
    assert found.brier == pytest.approx(np.mean((probabilities - right) ** 2))
    assert found.bins is not None
    assert [each.answers for each in found.bins] == expected.pictures.tolist()


def test_a_multi_label_model_has_no_calibration(store: FeedbackStore) -> None:
    store.put("a" * 32, said(version=SEVERAL.version, probability=None))
    store.put("b" * 32, said(version=SEVERAL.version, probability=None, label="blue"))
    store.put("c" * 32, said())
    several, tiny = store.figures()
    assert (several.model, several.accuracy, several.answers) == ("several", 0.5, 2)
    assert (several.ece, several.brier, several.bins, several.confidence) == (None,) * 4
    assert (tiny.model, tiny.ece) == ("tiny", 0.5)


def test_what_is_old_is_purged(store: FeedbackStore) -> None:
    for i in range(10):
        store.put(f"{i:032x}", said(given=NOW + i * DAY, picture="d" * 32, content=b"x"))
    assert store.purge(NOW) == 0
    assert store.purge(NOW + 4 * DAY) == 4
    assert {row.given for row in store.rows()} == {NOW + i * DAY for i in range(4, 10)}
    assert store.erase(["0" * 32, f"{5:032x}"]) == 1
    assert store.erase_all() == 5
    assert store.figures() == ()


def test_rows_come_in_pages_and_by_model(store: FeedbackStore) -> None:
    rows = [{"key": f"{i:032x}", **said()} for i in range(PAGE_SIZE + 5)]
    rows.append({"key": "f" * 32, **said(version=SEVERAL.version)})
    with store.write() as connection:
        connection.execute(insert(feedback), rows)
    assert [row.key for row in store.rows()] == [row["key"] for row in rows]
    assert [row.key for row in store.rows("several")] == ["f" * 32]
    assert list(store.rows("another")) == []


def test_another_schema_is_refused_and_the_gallery_stays_usable(
    store: FeedbackStore, database_url: str
) -> None:
    gallery = Gallery(database_url)
    assert gallery.reader.state() == (None, 0, 0, 0)
    with store.write() as connection:
        connection.execute(update(state).values(version=2))
    with pytest.raises(VitrineError, match="has version 2; this release reads version 1"):
        FeedbackStore(database_url)
    assert gallery.reader.state() == (None, 0, 0, 0)
    gallery.database.close()


def test_a_version_is_known_by_its_manifest(store: FeedbackStore) -> None:
    changed = Version("0" * 16, "renamed", "c" * 64, "classification", ("a", "b"))
    store.add_versions([changed])
    assert store.version("0" * 16) == VERSION
