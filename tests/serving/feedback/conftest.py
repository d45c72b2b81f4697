"""Stores of feedback in both kinds of database, and a server that takes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.feedback.store import FeedbackStore, Version
from tests.graphs import CLASSES, tiny_artifact

VERSION = Version("0" * 16, "tiny", "a" * 64, "classification", CLASSES)
SEVERAL = Version("1" * 16, "several", "b" * 64, "multi-label", CLASSES)


@pytest.fixture
def store(database_url: str) -> Iterator[FeedbackStore]:
    store = FeedbackStore(database_url)
    store.add_versions([VERSION, SEVERAL])
    yield store
    store.close()


@pytest.fixture(scope="session")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts with a classifier and a multi-label model."""
    root = tmp_path_factory.mktemp("classifiers")
    tiny_artifact(root, "tiny", route="cifar10", default=True)
    tiny_artifact(root, "several", task="multi-label", thresholds=(0.9, 0.0, 0.2))
    return root
