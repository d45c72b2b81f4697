"""A cache of answers on disk, so that no question about the same pictures is asked twice."""

import hashlib
import io
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from artifacts import VitrineError
from serving.client.chunks import Rows, ServerError, Source
from serving.client.predictor import Predictor
from serving.schemas import (
    Classification,
    Drift,
    EachClassification,
    Explanation,
    Inspection,
    ModelInfo,
)

Answer = TypeVar("Answer")


class CachingPredictor:
    """A predictor that caches the answers of another one in files, one for each question.

    The name of a file is a hash of the model, the question and the content of the pictures, so that
    a change to any of them leads to a new question. Several analyses of a model can share a folder,
    and an interrupted analysis continues after the last answer.

    Args:
        predictor: the predictor to ask.
        folder: created if it is missing; it may be deleted at any time.
    """

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        self._predictor = predictor
        self._folder = folder
        self._models: dict[str, str] = {}

    def models(self) -> list[ModelInfo]:
        """See `Predictor.models`."""
        return self._predictor.models()

    def model_info(self, name: str) -> ModelInfo:
        """See `Predictor.model_info`."""
        return self._predictor.model_info(name)

    def classify(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Classification:
        """See `Predictor.classify`."""
        asked = {"keep": keep, "coverage": coverage}
        given = "".join(f"&{key}={value}" for key, value in asked.items() if value is not None)
        return self._cached(
            name,
            f"classify?top={top}{given}",
            pictures,
            lambda: self._predictor.classify(name, pictures, top, keep, coverage),
            (_json, Classification.model_validate_json),
        )

    def classify_each(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> EachClassification:
        """See `Predictor.classify_each`; these answers are not cached."""
        return self._predictor.classify_each(name, pictures, top, keep, coverage)

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """See `Predictor.features`."""
        return self._cached(
            name,
            "features",
            pictures,
            lambda: self._predictor.features(name, pictures),
            (_npy, _rows),
        )

    def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """See `Predictor.inspect`."""
        return self._cached(
            name,
            "inspect",
            pictures,
            lambda: self._predictor.inspect(name, pictures),
            (_json, Inspection.model_validate_json),
        )

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """See `Predictor.feature_map`. The answer is not cached: it is large and needed once."""
        return self._predictor.feature_map(name, picture, layer)

    def explain(self, name: str, picture: Source, label: str | None = None) -> Explanation:
        """See `Predictor.explain`."""
        return self._cached(
            name,
            f"explain?class={label}",
            [picture],
            lambda: self._predictor.explain(name, picture, label),
            (_json, Explanation.model_validate_json),
        )

    def drift(self, name: str) -> Drift:
        """See `Predictor.drift`. The answer is not cached, because every request changes it."""
        return self._predictor.drift(name)

    def _cached(
        self,
        name: str,
        question: str,
        pictures: Sequence[Source],
        ask: Callable[[], Answer],
        form: tuple[Callable[[Answer], bytes], Callable[[bytes], Answer]],
    ) -> Answer:
        """Return the cached answer, or ask and cache; `form` serializes and parses the answer."""
        write, read = form
        if name not in self._models:
            self._models[name] = _identity(self.model_info(name))
        path = self._folder / _key(f"{self._models[name]} {question}", pictures)
        if path.exists():
            return _load(path, read)
        answer = ask()
        if _identity(self.model_info(name)) != self._models[name]:
            raise ServerError(f"model {name!r} was replaced meanwhile; start the analysis again.")
        _store(path, write(answer))
        return answer


def _identity(info: ModelInfo) -> str:
    """Return everything of a model that its answers depend on."""
    return f"{info.hash} {info.temperature} {info.input} {info.classes}"


def _key(question: str, pictures: Sequence[Source]) -> str:
    digest = hashlib.sha256(question.encode())
    for picture in pictures:
        digest.update(b"file" if isinstance(picture, bytes) else str(picture.shape).encode())
        content = picture if isinstance(picture, bytes) else np.ascontiguousarray(picture).data
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _json(answer: BaseModel) -> bytes:
    return answer.model_dump_json(by_alias=True).encode()


def _npy(rows: Rows) -> bytes:
    content = io.BytesIO()
    np.save(content, rows)
    return content.getvalue()


def _rows(content: bytes) -> Rows:
    rows: Rows = np.load(io.BytesIO(content), allow_pickle=False)
    return rows


def _load(path: Path, read: Callable[[bytes], Answer]) -> Answer:
    try:
        return read(zlib.decompress(path.read_bytes()))
    except (OSError, zlib.error, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise VitrineError(f"{path}: not a cached answer ({reason}); delete the file.") from None


def _store(path: Path, content: bytes) -> None:
    """Write a file atomically, so that an interrupted process leaves no incomplete answer."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(zlib.compress(content, 1))
        unfinished.replace(path)
    except OSError as error:
        raise VitrineError(
            f"{path.parent}: answers cannot be cached there ({error}); choose another --answers."
        ) from None
