"""Requests that schemathesis makes from the server's own OpenAPI description.

A few for each operation; `VITRINE_HOSTILE=full` (`make hostile`) makes many.
"""

# ruff: noqa: PLC0415 - schemathesis takes a second to import, in every process of a run

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from serving.http.access import make_key
from serving.http.routes.gallery import PARQUET_TYPE
from serving.pictures.archives import NAMES
from serving.pictures.limits import FORMATS
from tests.graphs import face_artifact, tiny_artifact
from tests.server import running_server

if TYPE_CHECKING:
    from schemathesis import Case, SerializationContext
    from schemathesis.specs.openapi.schemas import OpenApiSchema

EXAMPLES = 200 if os.environ.get("VITRINE_HOSTILE") == "full" else 4
BINARY = [f"image/{kind.lower()}" for kind in FORMATS] + [PARQUET_TYPE, *NAMES]
KEY, ENTRY = make_key("schemathesis", "read+write")
ALLOWED = {"Authorization": f"Bearer {KEY}"}
# The description cannot express that bytes are a picture or that a name is that of a model. So
# valid requests may be refused with a 4xx, and bodies that it calls invalid may be pictures.
UNSAYABLE = ("positive_data_acceptance", "negative_data_rejection")


def as_it_is(_: "SerializationContext", value: object) -> bytes:
    """A body that is no text."""
    if isinstance(value, bytes):
        return value
    return getattr(value, "data", None) or str(value).encode()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator["OpenApiSchema"]:
    import schemathesis

    for media_type in BINARY:
        schemathesis.serializer(media_type)(as_it_is)
    root = tmp_path_factory.mktemp("schema")
    tiny_artifact(root / "models", "tiny", route="cifar10", default=True)
    face_artifact(root / "models")
    settings = {"VITRINE_API_KEYS": ENTRY, "VITRINE_FEEDBACK": "pictures"}
    with running_server(root / "models", root / "log.txt", **settings) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_the_server_does_as_it_says(api: "OpenApiSchema") -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import CHECKS
    from schemathesis.core.failures import Failure, FailureGroup

    left_out = CHECKS.get_by_names(list(UNSAYABLE))
    operations = [result.ok() for result in api.get_all_operations()]
    assert len(operations) > 20
    failures = []
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: "Case") -> None:
            case.call_and_validate(headers=ALLOWED, excluded_checks=left_out, timeout=60)

        try:
            ask()
        except (FailureGroup, Failure) as failure:
            found = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            failures += [f"{operation.label}: {each}" for each in found]
    assert failures == []
