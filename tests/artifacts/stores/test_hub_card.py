"""The Hugging Face Hub reads the README.md that a pushed artifact has."""

from pathlib import Path

import pytest

from artifacts import Artifact, artifact_names
from artifacts.distribution import PACKAGED
from artifacts.manifest import Manifest
from artifacts.stores.hub_card import hub_card
from artifacts.stores.location import Location
from artifacts.stores.push import push
from tests.graphs import tiny_artifact

hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")


@pytest.mark.parametrize("name", artifact_names(PACKAGED))
def test_the_hub_reads_the_cards_of_all_models(name: str) -> None:
    manifest = Manifest.read(PACKAGED / name / "manifest.json")
    card = hub.ModelCard(hub_card(manifest))
    assert card.text.lstrip() == (PACKAGED / name / "card.md").read_text()
    face = manifest.task == "embedding"
    assert card.data.pipeline_tag == "image-" + ("feature-extraction" if face else "classification")
    assert card.data.library_name == "onnx"
    assert card.data.model_name == name
    stated = {(r.dataset_split, r.metric_name, r.metric_value) for r in card.data.eval_results}
    accuracy = manifest.metric("accuracy", "test")
    if accuracy is not None:
        assert ("test", "accuracy", accuracy) in stated
    assert stated


def test_a_licence_is_stated_or_unknown(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path / "models")
    assert hub.ModelCard(hub_card(artifact.manifest)).data.license == "unknown"
    push(artifact, Location.of(f"file://{tmp_path}/store"), "apache-2.0")
    pushed = tmp_path / "store" / "tiny"
    assert hub.ModelCard.load(pushed / "README.md").data.license == "apache-2.0"
    assert Artifact.open("tiny", tmp_path / "store").manifest == artifact.manifest
