"""The clock is set while people are enrolled and answers are given: nothing is lost, none twice."""

import ast
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

from serving.faces import database as faces_database
from serving.faces.gallery import Gallery
from serving.faces.idempotency import Enrolled, IdempotencyKey, fingerprint
from serving.feedback import answer_ids
from serving.feedback import feedback as feedback_module
from serving.feedback.answer_ids import make_id
from serving.feedback.feedback import Feedback
from serving.feedback.submission import Submission
from tests.serving.faces.test_gallery import MODEL, face, nearest, picture
from tests.serving.feedback.conftest import VERSION

SERVING = Path(__file__).parents[2] / "serving"
WALL_CLOCK = {"feedback/answer_ids.py", "observability/tracing.py"}
"""Files that may ask `time.time()`: for points in time, not for durations."""


class Clock(datetime):
    """Stands in for `datetime` in a module, with a clock that can be set."""

    off = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + cls.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(faces_database, "datetime", Clock)
    monkeypatch.setattr(feedback_module, "datetime", Clock)
    monkeypatch.setattr(answer_ids.time, "time", lambda: Clock.now(UTC).timestamp())
    monkeypatch.setattr(Clock, "off", timedelta())
    return Clock


def enrol(gallery: Gallery, person: str, seed: int) -> Enrolled:
    """Enrol with a key, as a client that repeats what was not answered."""
    key = IdempotencyKey(person, fingerprint(person))
    return gallery.writer.enrol(person, MODEL, [picture(person, face(seed))], "test", key)


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=400)])
def test_people_are_enrolled_once_and_found(
    database_url: str, clock: type[Clock], back: timedelta
) -> None:
    gallery = Gallery(database_url)
    first = enrol(gallery, "ada", 1)
    clock.off = -back
    assert enrol(gallery, "ada", 1) == first._replace(replayed=True)
    second = enrol(gallery, "bea", 2)
    assert second.change > first.change
    assert [nearest(gallery, seed)[0].person for seed in (1, 2)] == ["ada", "bea"]
    clock.off = timedelta()
    again = enrol(gallery, "bea", 2)
    assert again.replayed == (back < timedelta(days=1))  # keys are kept for a day
    assert [row.name for row in gallery.reader.people(0, 10)] == ["ada", "bea"]
    numbers = [row.number for row in gallery.reader.changes(0, 100)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert gallery.writer.remove_person("ada", "test").pictures == first.pictures
    gallery.database.close()


def test_answers_of_a_clock_that_was_ahead_take_feedback_and_keep_it(
    database_url: str, clock: type[Clock]
) -> None:
    feedback = Feedback(database_url, "labels", days=90)
    store = feedback._opened = feedback_module.FeedbackStore(database_url)
    store.add_versions([VERSION])
    clock.off = timedelta(days=30)
    answer = make_id(store.secret, bytes.fromhex(VERSION.version), (0,), 0.5, b"")
    clock.off = timedelta()
    entry = feedback.submit(Submission(answer, None, "right", None), "test")
    clock.off = -timedelta(days=30)
    feedback.purge()
    assert feedback.submit(Submission(answer, None, "wrong", None), "test").id == entry.id
    assert [row.correct for row in store.rows()] == [False]
    store.close()


def test_durations_are_measured_with_clocks_that_nobody_sets() -> None:
    found = {
        file.relative_to(SERVING).as_posix()
        for file in SERVING.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) == ("time", "time")
    }
    assert found == WALL_CLOCK
