"""The requests about feedback that the API answers, described without sending them."""

from collections.abc import Sequence
from urllib.parse import quote

from serving.client.calls import Call, json_of
from serving.client.chunks import Source, encode
from serving.feedback.schemas import FeedbackEntry, FeedbackReceipt, FeedbackSummary, Verdict

FEEDBACK = "/v1/feedback"


def give(
    answer: str,
    label: str | Sequence[str] | None,
    verdict: Verdict | None,
    picture: Source | None,
) -> Call[FeedbackEntry]:
    """Say what is right about an answer."""
    read = json_of(FeedbackEntry)
    if picture is None:
        labels = label if label is None or isinstance(label, str) else list(label)
        content = {"answer": answer, "label": labels, "verdict": verdict}
        given = {name: value for name, value in content.items() if value is not None}
        return Call("POST", FEEDBACK, read, {"json": given})
    fields: list[tuple[str, tuple[str | None, str | bytes]]] = [("answer", (None, answer))]
    if label is not None:  # an empty field says that no class is right
        labels = [label] if isinstance(label, str) else list(label) or [""]
        fields += [("label", (None, each)) for each in labels]
    if verdict is not None:
        fields.append(("verdict", (None, verdict)))
    fields.append(("image", ("picture", encode(picture))))
    return Call("POST", FEEDBACK, read, {"files": fields})


def summary() -> Call[FeedbackSummary]:
    """Accuracy and calibration by feedback."""
    return Call("GET", FEEDBACK, json_of(FeedbackSummary))


def entry(answer: str) -> Call[FeedbackEntry]:
    """What is stored about an answer."""
    return Call("GET", _path(answer), json_of(FeedbackEntry))


def erase(answer: str) -> Call[FeedbackReceipt]:
    """Erase what is stored about an answer."""
    return Call("DELETE", _path(answer), json_of(FeedbackReceipt))


def _path(answer: str) -> str:
    return f"{FEEDBACK}/{quote(answer, safe='')}"
