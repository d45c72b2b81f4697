"""Feedback as one worker takes it: gives ids to answers, and stores what is said about them."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Self

from artifacts.calibration import bins_of
from serving.feedback.answer_ids import KEY_DIGITS, MAX_CLASSES, GivenAnswer, make_id, read_id
from serving.feedback.schemas import FeedbackEntry, FeedbackReceipt, FeedbackSummary
from serving.feedback.store import FeedbackStore, Row, Version
from serving.feedback.submission import Submission, check_picture, judge
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.problems import RequestError
from serving.schemas import Classification, ClassifiedPicture
from serving.settings import Settings

RETRY_SECONDS = 10.0
"""Time until a database that did not answer is tried again, in seconds."""
PURGE_SECONDS = 3600.0
"""Time between two purges of expired feedback, in seconds."""
KEY = re.compile(f"[0-9a-f]{{{KEY_DIGITS}}}")

log = logging.getLogger("bentoml.vitrine")


class _Signing(NamedTuple):
    """What the ids of one model's answers are made with."""

    secret: bytes
    version: bytes
    indices: dict[str, int]


class Feedback:
    """The feedback of a server, as one of its workers sees it.

    Args:
        url: of the database, as `Store` takes it; it is opened by `prepare`.
        keeps: whether pictures may be kept, or labels only.
        days: for how long answers take feedback, and feedback is kept.
    """

    def __init__(self, url: str, keeps: Literal["labels", "pictures"], days: int) -> None:
        self.keeps = keeps
        self.days = days
        self._url = url
        self._lock = threading.Lock()
        self._opened: FeedbackStore | None = None
        self._signing: dict[str, _Signing] = {}
        """By digest of the manifest: the versions that the database knows."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """The feedback that `VITRINE_FEEDBACK` and `VITRINE_FEEDBACK_DAYS` describe, if any."""
        if settings.feedback == "off":
            return None
        return cls(settings.database, settings.feedback, settings.feedback_days)

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures may be kept."""
        return self.keeps == "pictures"

    def prepare(self, models: Models) -> None:
        """Make known the models whose answers take feedback from now on.

        Raises:
            VitrineError: see `Store`.
            RequestError: the database does not answer.
        """
        new = [
            model
            for model in models.served.values()
            if 0 < len(model.manifest.classes) <= MAX_CLASSES
            and model.manifest.digest not in self._signing
        ]
        if self._opened is not None and not new:
            return
        with self._lock:
            store = self._opened = self._opened or FeedbackStore(self._url)
            store.add_versions([_version(model) for model in new])
            signing = {
                model.manifest.digest: _Signing(
                    store.secret,
                    bytes.fromhex(_version(model).version),
                    {name: i for i, name in enumerate(model.manifest.classes)},
                )
                for model in new
            }
            self._signing = {**self._signing, **signing}

    def keep_up(self, models: Callable[[], Models], *, purges: bool) -> None:
        """From now on, prepare models that could not be prepared, and erase what has expired.

        Args:
            models: returns the models that are being served.
            purges: whether this worker erases what has expired; one worker of a server does.
        """

        def work() -> None:
            next_purge = 0.0
            while True:
                try:
                    self.prepare(models())
                    if purges and self._opened and time.monotonic() >= next_purge:
                        self.purge()
                        next_purge = time.monotonic() + PURGE_SECONDS
                except RequestError:  # which the store has logged; the database may answer again
                    pass
                except Exception:
                    log.exception("feedback is not kept up to date")
                time.sleep(RETRY_SECONDS)

        threading.Thread(target=work, name="vitrine-feedback", daemon=True).start()

    def with_ids(
        self, given: Classification, model: ServedModel, digests: Sequence[bytes]
    ) -> Classification:
        """Return an answer with an id for each picture; without, if the database is not open yet.

        Args:
            given: the answer.
            model: the model that gave it.
            digests: of the pictures; empty if no pictures are kept.
        """
        signing = self._signing.get(model.manifest.digest)
        if signing is None:
            return given
        several = given.task == "multi-label"
        pictures = tuple(
            picture.model_copy(
                update={"id": _id(signing, picture, digests[i] if digests else b"", several)}
            )
            for i, picture in enumerate(given.pictures)
        )
        return given.model_copy(update={"feedback": self.keeps, "pictures": pictures})

    def submit(self, given: Submission, actor: str) -> FeedbackEntry:
        """Store what is said about an answer, in place of what was said before.

        Raises:
            RequestError: there is no such answer, it is too old, the labels do not fit the model,
                the picture is not the one that was answered, or the database does not answer.
        """
        answer = self._answer(given.answer)
        if datetime.now(UTC) - answer.at > timedelta(days=self.days):
            raise RequestError(
                "unknown-answer",
                f"the answer is of {answer.at:%Y-%m-%d}; answers take feedback for {self.days} "
                "days (VITRINE_FEEDBACK_DAYS).",
            )
        version = self._store.version(answer.version)
        if version is None:  # the secret and the versions are of one database
            raise _unknown_answer()
        if given.content is not None:
            check_picture(answer, given.content, keeps_pictures=self.keeps_pictures)
        predicted = tuple(version.classes[i] for i in answer.predicted)
        labels, correct = judge(given, predicted, version)
        single = version.task == "classification"
        values: dict[str, Any] = {
            "version": answer.version,
            "answered": answer.at,
            "given": datetime.now(UTC),
            "actor": actor,
            "predicted": json.dumps(predicted),
            "probability": answer.probability if single else None,
            "bin": int(bins_of(answer.probability)) if single else None,
            "labels": None if labels is None else json.dumps(labels),
            "correct": correct,
        }
        if given.content is not None:
            values |= {"picture": answer.picture, "content": given.content}
        self._store.put(answer.key, values)
        return self.entry(answer.key)

    def entry(self, name: str) -> FeedbackEntry:
        """Return what is stored about an answer, by its id or the key of its feedback.

        Raises:
            RequestError: nothing is stored about it, or the database does not answer.
        """
        row = self._store.get(self._key(name))
        if row is None:
            raise _no_feedback()
        return _entry(row, self.days)

    def erase(self, name: str) -> FeedbackReceipt:
        """Erase what is stored about an answer, by its id or the key of its feedback.

        Raises:
            RequestError: nothing is stored about it, or the database does not answer.
        """
        key = self._key(name)
        row = self._store.get(key)
        if row is None or not self._store.erase([key]):
            raise _no_feedback()
        erased = self._store.erase_traces()
        return FeedbackReceipt(
            id=key,
            at=datetime.now(UTC),
            picture=row.picture is not None,
            erased=erased,
            remains=() if erased else (self._store.remains,),
        )

    def summary(self) -> FeedbackSummary:
        """Return accuracy and calibration of every version that has feedback.

        Raises:
            RequestError: the database does not answer.
        """
        return FeedbackSummary(keeps=self.keeps, days=self.days, models=self._store.figures())

    def purge(self) -> None:
        """Erase what has expired.

        Raises:
            RequestError: the database does not answer.
        """
        gone = self._store.purge(datetime.now(UTC) - timedelta(days=self.days))
        if gone:
            log.info("feedback about %d answers has expired and was erased", gone)

    @property
    def _store(self) -> FeedbackStore:
        if self._opened is None:
            raise RequestError(
                "feedback-unavailable",
                "the feedback's database has not been opened yet; try again.",
            )
        return self._opened

    def _answer(self, given: str) -> GivenAnswer:
        answer = read_id(self._store.secret, given)
        if answer is None:
            raise _unknown_answer()
        return answer

    def _key(self, name: str) -> str:
        return name if KEY.fullmatch(name) else self._answer(name).key


def _id(signing: _Signing, picture: ClassifiedPicture, digest: bytes, several: bool) -> str:
    indices = signing.indices
    if several:
        present = [indices[guess.label] for guess in picture.top if guess.present]
        return make_id(signing.secret, signing.version, present, 0.0, digest)
    best = picture.top[0]
    chosen = (indices[best.label],)
    return make_id(signing.secret, signing.version, chosen, best.probability, digest)


def _version(model: ServedModel) -> Version:
    manifest = model.manifest
    return Version(
        version=manifest.digest[:16],
        model=manifest.name,
        hash=model.artifact.hash,
        task=manifest.task,
        classes=manifest.classes,
    )


def _entry(row: Row, days: int) -> FeedbackEntry:
    values = row._asdict() | {"id": row.key, "picture": row.picture is not None}
    return FeedbackEntry(**values, expires=row.given + timedelta(days=days))


def _unknown_answer() -> RequestError:
    return RequestError(
        "unknown-answer",
        "this is not the id of an answer of this server; send the `id` that `classify` gives with "
        "each picture while feedback is on. Other answers, such as those about faces, take none.",
    )


def _no_feedback() -> RequestError:
    return RequestError(
        "unknown-feedback", "no feedback is stored about this answer; it may have been erased."
    )
