"""A server whose VITRINE_ARTIFACTS is a URL pulls the models first, or serves its copy of them."""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from artifacts import Artifact, ArtifactError, artifact_names, artifacts_root
from artifacts.stores.location import Location
from artifacts.stores.push import push
from artifacts.stores.served import main
from tests.artifacts.conftest import assert_refused
from tests.commands import run_in_process
from tests.graphs import tiny_artifact

check = partial(run_in_process, main, "artifacts.stores.served")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    url = f"file://{tmp_path}/store"
    for name in ("tiny", "other"):
        push(tiny_artifact(tmp_path / "made", name), Location.of(url))
    monkeypatch.setenv("VITRINE_ARTIFACTS", url)
    monkeypatch.setenv("VITRINE_STORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "store"


def test_the_models_are_pulled_and_follow_the_store(folder: Path) -> None:
    said = check().err
    assert re.fullmatch(r"file://\S+/store: 2 models, [\d,]+ bytes transferred\.\n", said)
    assert artifact_names() == ["other", "tiny"]
    shutil.rmtree(folder / "other")
    assert check().err.endswith("store: 1 models, 0 bytes transferred.\n")
    assert artifact_names() == ["tiny"]
    with pytest.raises(ArtifactError, match="names a store, and its copy here is not written to"):
        Artifact.save(Artifact.open("tiny").manifest, {}, artifacts_root())


def test_only_the_named_models_are_pulled(folder: Path) -> None:
    check("tiny")
    assert artifact_names() == ["tiny"]
    folder.rename(folder.with_name("away"))
    assert_refused(check(), "No complete copy of it is under")  # `other` never was pulled


def test_a_store_that_is_gone_leaves_the_copy(folder: Path) -> None:
    check()
    folder.rename(folder.with_name("away"))
    said = check().err
    assert said.count("\n") == 1
    assert "SERVING THE COPY of 20" in said
    assert said.endswith("instead, 2 models.\n")


def test_a_store_that_was_never_reached_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del folder
    monkeypatch.setenv("VITRINE_ARTIFACTS", "http://127.0.0.1:9/models")
    refused = check()
    assert_refused(refused, "No complete copy")
    assert "http://127.0.0.1:9/models" in refused.err
