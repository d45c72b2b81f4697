"""What is said about an answer, checked against the answer and the model that gave it."""

import difflib
import hmac
from typing import NamedTuple

from serving.feedback.answer_ids import GivenAnswer, picture_digest
from serving.feedback.schemas import Verdict
from serving.feedback.store import Version
from serving.problems import RequestError


class Submission(NamedTuple):
    """What is said about one answer: either a verdict, or its right classes."""

    answer: str
    """The id of the answer."""
    labels: tuple[str, ...] | None
    verdict: Verdict | None
    content: bytes | None
    """The picture as it was sent; None to keep none."""


def judge(
    given: Submission, predicted: tuple[str, ...], version: Version
) -> tuple[tuple[str, ...] | None, bool]:
    """Return the right classes, None if they are not known, and whether the answer was right.

    Args:
        given: what was said.
        predicted: names of the predicted classes.
        version: of the model that answered.

    Raises:
        RequestError: a label is no class of the model, or a single class is needed.
    """
    if given.labels is None:
        return (predicted, True) if given.verdict == "right" else (None, False)
    for label in given.labels:
        if label not in version.classes:
            near = difflib.get_close_matches(label, version.classes, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
            raise RequestError(
                "unknown-class",
                f"{label!r} is no class of model {version.model!r}{hint} GET "
                f"/v1/models/{version.model} lists its classes; if none of them is right, send "
                "verdict=wrong.",
            )
    if version.task == "classification" and len(given.labels) != 1:
        raise RequestError(
            "bad-feedback",
            f"{len(given.labels)} labels are given, but model {version.model!r} gives each picture "
            "exactly one class; send one label.",
        )
    labels = tuple(sorted(set(given.labels), key=version.classes.index))
    return labels, set(labels) == set(predicted)


def check_picture(answer: GivenAnswer, content: bytes, *, keeps_pictures: bool) -> None:
    """Check that a picture may be kept, and is the one that was answered.

    Raises:
        RequestError: this server keeps no pictures, or did not when it answered; or it is another.
    """
    if not keeps_pictures:
        raise RequestError(
            "picture-not-kept",
            "this server keeps no pictures (VITRINE_FEEDBACK=labels); send the feedback "
            "without it.",
        )
    if answer.picture is None:
        raise RequestError(
            "picture-not-kept",
            "the answer was given when this server kept no pictures; send the feedback "
            "without it, or have the picture classified again.",
        )
    if not hmac.compare_digest(answer.picture, picture_digest(content).hex()):
        raise RequestError(
            "another-picture",
            "the picture is not the one that was answered; send the same bytes as before.",
        )
