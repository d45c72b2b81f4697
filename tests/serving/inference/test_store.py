"""A server whose VITRINE_ARTIFACTS is a URL pulls the models first, or serves its copy of them."""

import re
import shutil
from pathlib import Path

import pytest

from artifacts import Artifact, ArtifactError, VitrineError, artifact_names, artifacts_root
from artifacts.stores.location import Location
from artifacts.stores.push import push
from serving.inference.start_check import check
from serving.settings import list_settings
from tests.graphs import tiny_artifact


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    url = f"file://{tmp_path}/store"
    for name in ("tiny", "other"):
        push(tiny_artifact(tmp_path / "made", name), Location.of(url))
    monkeypatch.setenv("VITRINE_ARTIFACTS", url)
    monkeypatch.setenv("VITRINE_STORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "store"


def test_the_models_are_pulled_and_follow_the_store(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check()
    said = capsys.readouterr().err
    assert re.fullmatch(r"file://\S+/store: 2 models, [\d,]+ bytes transferred\.\n", said)
    assert artifact_names() == ["other", "tiny"]
    shutil.rmtree(store / "other")
    check()
    assert capsys.readouterr().err.endswith("store: 1 models, 0 bytes transferred.\n")
    assert artifact_names() == ["tiny"]
    with pytest.raises(ArtifactError, match="names a store, and its copy here is not written to"):
        Artifact.save(Artifact.open("tiny").manifest, {}, artifacts_root())


def test_only_the_named_models_are_pulled(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_MODELS", "tiny")
    check()
    assert artifact_names() == ["tiny"]
    store.rename(store.with_name("away"))
    monkeypatch.setenv("VITRINE_MODELS", "")
    with pytest.raises(VitrineError, match="No complete copy of it is under"):
        check()  # `other` never was pulled


def test_a_store_that_is_gone_leaves_the_copy(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check()
    capsys.readouterr()
    store.rename(store.with_name("away"))
    check()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "SERVING THE COPY of 20" in said
    assert said.endswith("instead, 2 models.\n")


def test_a_store_that_was_never_reached_is_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.setenv("VITRINE_ARTIFACTS", "http://127.0.0.1:9/models")
    with pytest.raises(VitrineError, match=r"http://127\.0\.0\.1:9/models.*No complete copy"):
        check()


def test_settings_show_no_secret_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", "https://me:secret@example.org/models?token=secret")
    assert list_settings()[0].value == "https://example.org/models"
