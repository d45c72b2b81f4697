"""Ids of answers: what they hold, and that nobody else can make or change one."""

import time

import pytest

from serving.feedback.answer_ids import make_id, picture_digest, read_id

SECRET = b"s" * 32
VERSION = bytes.fromhex("0123456789abcdef")


@pytest.mark.parametrize("predicted", [(2,), (), (0, 65_535), tuple(range(3000))])
@pytest.mark.parametrize("content", [None, b"a picture"])
def test_an_id_holds_the_answer(predicted: tuple[int, ...], content: bytes | None) -> None:
    digest = b"" if content is None else picture_digest(content)
    before = int(time.time())
    answer = read_id(SECRET, make_id(SECRET, VERSION, predicted, 0.75, digest))
    assert answer is not None
    assert answer.version == VERSION.hex()
    assert (answer.predicted, answer.probability) == (predicted, 0.75)
    assert before <= answer.at.timestamp() <= time.time()
    assert answer.picture == (digest.hex() or None)
    assert len(answer.key) == 32


def test_equal_answers_have_different_ids() -> None:
    ids = {make_id(SECRET, VERSION, (1,), 0.5, b"") for _ in range(1000)}
    keys = {answer.key for each in ids if (answer := read_id(SECRET, each))}
    assert len(ids) == len(keys) == 1000


def test_an_id_that_was_changed_is_none() -> None:
    given = make_id(SECRET, VERSION, (1,), 0.5, picture_digest(b"x"))
    assert read_id(b"t" * 32, given) is None
    for place in range(len(given) - 1):  # the last character may hold bits that do not count
        for other in "AZaz09-_":
            if other != given[place]:
                assert read_id(SECRET, given[:place] + other + given[place + 1 :]) is None
    for wrong in ("", "A", "x" * 22, given[:-4], given + "AAAA", given + "é", "%%", "A" * 300_000):
        assert read_id(SECRET, wrong) is None


def test_other_spellings_of_an_id_are_the_same_answer() -> None:
    given = make_id(SECRET, VERSION, (1,), 0.5, b"")
    answer = read_id(SECRET, given)
    assert answer is not None
    assert {read_id(SECRET, given + end) for end in ("", "=", "==")} <= {answer, None}
