"""Routes of feedback about answers: `/v1/feedback`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from serving.feedback.answer_ids import MAX_CLASSES
from serving.feedback.feedback import Feedback
from serving.feedback.schemas import FeedbackEntry, FeedbackReceipt, FeedbackSummary, Verdict
from serving.feedback.submission import Submission
from serving.http.body import PICTURE_FIELD, content_type, read_body
from serving.http.forms import form_parts
from serving.http.intake import feedback_of
from serving.http.responses import bearer, json_response
from serving.http.routes.face_parameters import access_of
from serving.http.wrong_bodies import FORM
from serving.problems import RequestError

OPERATION = "feedback"
"""What `VITRINE_OPEN` calls giving, reading and erasing feedback by the id of an answer."""
EXAMPLE = 'such as {"answer": ID, "label": CLASS} or {"answer": ID, "verdict": "wrong"}'

_VERDICT = {"type": "string", "enum": ["right", "wrong"]}
_ANSWER = {"type": "string", "description": "the `id` of a picture in an answer of `classify`"}
_LABELS = {"type": "array", "items": {"type": "string"}}
_JSON = {
    "type": "object",
    "required": ["answer"],
    "additionalProperties": False,
    "properties": {
        "answer": _ANSWER,
        "label": {
            "oneOf": [{"type": "string"}, _LABELS],
            "description": "the right class; several or none only for a multi-label model",
        },
        "verdict": _VERDICT,
    },
}
_MULTIPART = {
    "type": "object",
    "required": ["answer"],
    "properties": {
        "answer": _ANSWER,
        "label": {**_LABELS, "description": "the right classes; one empty field means none"},
        "verdict": _VERDICT,
        PICTURE_FIELD: {
            "type": "string",
            "format": "binary",
            "description": "the picture that was answered, to be kept; the same bytes",
        },
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The id of an answer, and either its right classes or a verdict.",
        "content": {
            "application/json": {"schema": _JSON},
            "multipart/form-data": {"schema": _MULTIPART},
        },
    }
}


Label = Annotated[str, Field(max_length=1_000)]


class _Given(BaseModel):
    """The fields of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answer: str
    label: Label | Annotated[list[Label], Field(max_length=MAX_CLASSES)] | None = None
    verdict: Verdict | None = None


def _taken(request: Request) -> Feedback:
    """Return what takes the server's feedback.

    Raises:
        RequestError: the server takes none.
    """
    feedback = feedback_of(request)
    if feedback is None:
        raise RequestError(
            "feedback-off",
            "this server takes no feedback; VITRINE_FEEDBACK=labels or pictures turns it on.",
        )
    return feedback


Taken = Annotated[Feedback, Depends(_taken)]


def feedback_routes() -> APIRouter:
    """Return the routes; `app.state` must have `feedback` and `access`."""
    router = APIRouter(prefix="/v1/feedback", tags=["feedback"], dependencies=[Depends(bearer)])

    @router.post("", response_model=FeedbackEntry, openapi_extra=BODY)
    async def give(request: Request, feedback: Taken) -> Response:
        """Say whether an answer was right, or what is right.

        When this is answered, it is on disk. It replaces what was said about the answer before.
        """
        actor = access_of(request).check(request, "write", OPERATION)
        submission = await _read(request)
        return json_response(await run_in_threadpool(feedback.submit, submission, actor))

    @router.get("")
    def summary(request: Request, feedback: Taken) -> FeedbackSummary:
        """Return accuracy and calibration of each version of each model, by its feedback."""
        access_of(request).check(request, "read")
        return feedback.summary()

    @router.get("/{answer}")
    def entry(request: Request, answer: str, feedback: Taken) -> FeedbackEntry:
        """Return what is stored about an answer."""
        access_of(request).check(request, "read", OPERATION)
        return feedback.entry(answer)

    @router.delete("/{answer}")
    def erase(request: Request, answer: str, feedback: Taken) -> FeedbackReceipt:
        """Erase what is stored about an answer, with its picture, and return a receipt."""
        access_of(request).check(request, "write", OPERATION)
        return feedback.erase(answer)

    return router


async def _read(request: Request) -> Submission:
    """Read the body of a request.

    Raises:
        RequestError: it is too large, or is neither a form nor JSON with the right fields.
    """
    body = await read_body(request)
    kind, boundary = content_type(request)
    content = None
    try:
        if kind == FORM:
            fields, content = _fields(form_parts(body, boundary))
            given = _Given.model_validate(fields)
        else:
            given = _Given.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _bad(f"{where}: {first['msg']}" if where else first["msg"]) from None
    if (given.label is None) == (given.verdict is None):
        raise _bad("either label or verdict is needed, and not both")
    labels = (given.label,) if isinstance(given.label, str) else given.label
    return Submission(
        given.answer, None if labels is None else tuple(labels), given.verdict, content
    )


def _fields(parts: list[tuple[bytes, bytes]]) -> tuple[dict[str, Any], bytes | None]:
    """Return the text fields of a form, and its picture."""
    fields: dict[str, Any] = {}
    pictures = []
    for name, content in parts:
        if name == PICTURE_FIELD.encode():
            pictures.append(content)
            continue
        try:
            field, text = name.decode(), content.decode()
        except UnicodeDecodeError:
            raise _bad("a field of the form is not UTF-8") from None
        if field == "label":
            fields.setdefault(field, []).extend([text] if text else [])
        elif field in fields:
            raise _bad(f"the form has two fields {field!r}")
        else:
            fields[field] = text
    if len(pictures) > 1:
        raise _bad(f"the form has {len(pictures)} fields {PICTURE_FIELD!r}, but is about one")
    return fields, pictures[0] if pictures else None


def _bad(reason: str) -> RequestError:
    return RequestError(
        "bad-feedback", f"{reason}; send JSON, {EXAMPLE}, or a form with the same fields."
    )
