"""One real server for all tests that ask one, on generated models, and databases of both kinds."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.databases import (
    MISSING,
    drop_database,
    new_database,
    postgresql_programs,
    running_postgresql,
)
from tests.graphs import tiny_artifact, with_atlas
from tests.pictures import photograph
from tests.server import running_server

ATLAS_PICTURES = [np.asarray(photograph(40, 30, seed)) for seed in range(20)]
"""Of the model `other`."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts: two that work, one that is broken."""
    root = tmp_path_factory.mktemp("models")
    tiny_artifact(root, "tiny", route="cifar10", default=True)
    other = tiny_artifact(root, "other", route="cifar10", classes=("left", "right"))
    with_atlas(other, ATLAS_PICTURES)
    tiny_artifact(root, "broken")
    (root / "broken" / "model.onnx").write_bytes(b"not a graph")
    return root


@pytest.fixture(scope="session")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(models, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    programs = postgresql_programs()
    if programs is None:
        pytest.skip(MISSING)
    with running_postgresql(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield str(tmp_path / "vitrine.sqlite3")
        return
    url = new_database(request.getfixturevalue("postgresql"), f"test_{uuid.uuid4().hex}")
    yield url
    drop_database(url)
