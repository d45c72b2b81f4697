"""The settings of the server and its clients: every `VITRINE_…` variable that serving reads."""

import os
import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, SettingsConfigDict

from artifacts import VitrineError, artifacts_root
from artifacts.distribution import cache_folder, store_url
from artifacts.stores.location import without_secrets

RUN_VARIABLE = "VITRINE_RUN"
"""Variable in which the process that starts the workers hands them its temporary folder; users do
not set it."""

PREFIX = "VITRINE_"
OPENABLE = ("verify", "embed", "identify", "feedback")
"""Operations that `VITRINE_OPEN` can open to callers without a key."""


def _digits(given: Any) -> Any:
    """Accept ASCII digits only: `int` would also take "²", "1_000" and signs."""
    if isinstance(given, str) and not (given.isascii() and given.isdecimal()):
        raise ValueError
    return given


def _words(given: Any) -> Any:
    return tuple(re.split(r"[\s,]+", given.strip())) if isinstance(given, str) else given


def _openable(given: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(given) - set(OPENABLE)):
        raise ValueError(f"names {', '.join(unknown)}; what can be opened is {', '.join(OPENABLE)}")
    return given


def _addresses(given: tuple[str, ...]) -> tuple[str, ...]:
    if not all(address.startswith("/") for address in given):
        raise ValueError(
            "lists addresses such as /v1/models or /metrics, separated by spaces; / closes all"
        )
    return given


def _origins(given: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"\*|https?://[a-z0-9.-]+(:\d{1,5})?", origin) for origin in given):
        raise ValueError(
            "lists origins as browsers name them, such as https://app.example.org or "
            "http://localhost:8080, in lower case and without a path; * allows all"
        )
    return given


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_digits), Field(ge=1)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]

NUMBER: JsonDict = {"accepted": "a whole number from 1 on"}
SWITCH: JsonDict = {"accepted": "1 (yes) or 0 (no)"}


class Settings(BaseSettings):
    """What the environment says, checked. An empty variable counts as one that is not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, enable_decoding=False, frozen=True
    )

    workers: Count | None = Field(
        None,
        description="number of server processes; by default one per GPU, or one per core of a "
        "server without a GPU",
        json_schema_extra=NUMBER,
    )
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto",
        description="what runs the models: cpu, cuda or tensorrt; auto means cuda if it can be "
        "used, otherwise cpu",
        json_schema_extra={"accepted": "auto, cpu, cuda or tensorrt"},
    )
    gpu_megabytes: Count | None = Field(
        None,
        description="megabytes of a GPU's memory that each model may take; no limit by default",
        json_schema_extra=NUMBER,
    )
    models: Words = Field(
        (), description="names of the only models that are served; all of them by default"
    )
    load: Literal["start", "use"] = Field(
        "start",
        description="when models are loaded: all of them at the start, or only the defaults of "
        "routes, and the others when they are first used",
        json_schema_extra={"accepted": "start or use"},
    )
    runtime: Literal["onnxruntime", "openvino"] = Field(
        "onnxruntime",
        description="what runs the models",
        json_schema_extra={"accepted": "onnxruntime or openvino"},
    )
    megapixels: Count = Field(
        128,
        description="megapixels of pictures that a worker takes on at once",
        json_schema_extra=NUMBER,
    )
    bulk_megabytes: Count = Field(
        2000,
        description="megabytes of a request that is answered picture by picture, and of all of "
        "them that a worker keeps on disk at once",
        json_schema_extra=NUMBER,
    )
    timeout: Count = Field(
        60, description="seconds that a request may take", json_schema_extra=NUMBER
    )
    deadline: Seconds | None = Field(
        None,
        description="seconds in which an answer must be ready once the request has come, unless "
        "the request has a header X-Request-Timeout; otherwise it is refused, at once if the queue "
        "is too long; by default only VITRINE_TIMEOUT ends requests",
        json_schema_extra={"accepted": "a number above 0"},
    )
    log_requests: Literal["0", "1"] = Field(
        "0",
        description="1 logs every request, 0 only those that fail",
        json_schema_extra=SWITCH,
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="json writes every line of the log as JSON, text only those about requests",
        json_schema_extra={"accepted": "text or json"},
    )
    watch: Literal["0", "1"] = Field(
        "1",
        description="1 loads models that are added, replaced or removed while the server runs",
        json_schema_extra=SWITCH,
    )
    api_keys: Words = Field(
        (),
        description="the API keys that are accepted: entries NAME:SCOPES:SHA256, separated by "
        "spaces; without any, here or in a file, only this machine is served",
    )
    open: Annotated[Words, AfterValidator(_openable)] = Field(
        (),
        description="operations that need no key although keys are set: any of "
        + ", ".join(OPENABLE),
    )
    closed: Annotated[Words, AfterValidator(_addresses)] = Field(
        (),
        description="further addresses that need a key, such as /v1/models /metrics; / closes all",
    )
    api_keys_file: str | None = Field(
        None,
        description="a file of such entries, one on each line, which is read again when it changes",
    )
    cors_origins: Annotated[Words, AfterValidator(_origins)] = Field(
        (),
        description="origins whose pages may read answers, such as https://app.example.org; * "
        "allows all",
    )
    database: str = Field(
        "gallery.sqlite3",
        description="where the gallery of faces and feedback are: the path of an SQLite file, or "
        "postgresql://user:password@host/name",
    )
    keep_pictures: Literal["0", "1"] = Field(
        "0",
        description="1 keeps enrolled pictures, so that the gallery can move to another model",
        json_schema_extra=SWITCH,
    )
    feedback: Literal["off", "labels", "pictures"] = Field(
        "off",
        description="what is kept of feedback about answers: nothing (off), labels, or also "
        "pictures that are sent with it",
        json_schema_extra={"accepted": "off, labels or pictures"},
    )
    feedback_days: Count = Field(
        90,
        description="days for which answers take feedback, and for which it is kept",
        json_schema_extra=NUMBER,
    )
    face_index: Literal["faiss", "pgvector"] = Field(
        "faiss",
        description="what searches the gallery: faiss, in the memory of each worker, or pgvector, "
        "in the PostgreSQL of VITRINE_DATABASE",
        json_schema_extra={"accepted": "faiss or pgvector"},
    )
    exact_search: Annotated[int, BeforeValidator(_digits), Field(ge=0)] = Field(
        100_000,
        description="number of pictures up to which the gallery is searched exactly",
        json_schema_extra={"accepted": "a whole number"},
    )
    key: str | None = Field(None, description="the API key that clients send")


SECRET = ("api_keys", "database", "key")
"""Settings that may hold a secret: they are listed as set, without their value."""


class Listed(NamedTuple):
    """One setting, as `vitrine settings` prints it."""

    name: str
    value: str
    source: str
    meaning: str


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        VitrineError: one of them is not valid; it names the variable and what is accepted.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        name = PREFIX + field.upper()
        extra = Settings.model_fields[field].json_schema_extra
        if isinstance(extra, dict):
            message = f"{name}={first['input']}: {extra['accepted']} is expected."
        else:
            message = f"{name} {first['ctx']['error']}."
        raise VitrineError(message) from None


def list_settings() -> list[Listed]:
    """Every setting with its value, where that comes from, and its meaning.

    Raises:
        VitrineError: as `read_settings`.
    """
    settings = read_settings()
    rows = [
        Listed(
            f"{PREFIX}ARTIFACTS",
            without_secrets(store_url() or str(artifacts_root())),
            _source("ARTIFACTS"),
            "folder of the models, or URL of a store that they are pulled from at the start",
        ),
        Listed(
            f"{PREFIX}STORE_CACHE",
            str(cache_folder()),
            _source("STORE_CACHE"),
            "folder of files that were pulled from stores",
        ),
    ]
    for field, info in Settings.model_fields.items():
        value = getattr(settings, field)
        name = field.upper()
        if field in SECRET and _source(name) == "environment":
            shown = "(set)"
        else:
            shown = " ".join(value) if isinstance(value, tuple) else str(value or "")
        rows.append(Listed(PREFIX + name, shown, _source(name), str(info.description)))
    return rows


def _source(name: str) -> str:
    return "environment" if os.environ.get(PREFIX + name) else "default"
