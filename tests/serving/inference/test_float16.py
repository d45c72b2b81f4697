"""A model in float16 on a simulated GPU: what is said of it, and what is seen in it."""

from pathlib import Path

import numpy as np
import pytest

from artifacts import Artifact
from artifacts.artifact import FLOAT16_FILE, MODEL_FILE
from artifacts.devices import Device
from artifacts.float16 import float16_graph
from artifacts.providers import Float16Record, ProviderRecord
from serving.inference.served_model import ServedModel
from serving.inspection.feature_maps import FeatureMaps
from serving.inspection.sparsity import Probe
from tests.cards import CUDA, pretend_card, use_device
from tests.graphs import tiny_artifact

PICTURES = list(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8))
RECORD = Float16Record(
    served=True,
    data="made:test",
    hardware="test",
    agreement=ProviderRecord(provider=CUDA, pictures=1, difference=0.001, same=1.0, agrees=True),
    fp32_pictures_per_second={1: 1.0},
    float16_pictures_per_second={1: 2.0},
)


def with_float16(plain: Artifact, root: Path) -> Artifact:
    """The artifact with a graph in float16 that is served on a GPU."""
    files = {MODEL_FILE: plain.read(MODEL_FILE), FLOAT16_FILE: float16_graph(plain)}
    update = {"float16": RECORD, "known": None, "quantization": None}
    return Artifact.save(plain.manifest.model_copy(update=update), files, root)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return with_float16(tiny_artifact(tmp_path), tmp_path)


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_card(monkeypatch, lambda graph: graph)
    use_device(monkeypatch, Device("auto", "cuda", 1))


@pytest.mark.usefixtures("on_card")
def test_the_gpu_says_that_it_answers_in_float16(artifact: Artifact) -> None:
    info = ServedModel(artifact).info
    assert (info.precision, info.provider, info.float16) == ("float16", CUDA, RECORD)
    assert info.hash == artifact.manifest.files[FLOAT16_FILE]


def test_the_cpu_says_that_it_answers_in_float32(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_device(monkeypatch, Device("cpu", "cpu"))
    info = ServedModel(artifact).info
    assert (info.precision, info.provider) == ("float32", "CPUExecutionProvider")
    assert info.hash == artifact.manifest.files[MODEL_FILE]


def test_models_without_float16_say_nothing_of_it(tmp_path: Path) -> None:
    info = ServedModel(tiny_artifact(tmp_path)).info.model_dump()
    assert info["precision"] == "float32"
    assert "float16" not in info


@pytest.mark.parametrize("name", ["tiny", "digits"])
def test_the_same_is_seen_in_both_graphs(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    plain = tiny_artifact(tmp_path) if name == "tiny" else Artifact.open(name)
    artifact = with_float16(plain, tmp_path)
    expected = Probe(artifact).layers(PICTURES)
    last = expected[-1].name
    expected_maps = FeatureMaps(artifact).read(PICTURES[0], last)
    request.getfixturevalue("on_card")
    assert artifact.precision == "float16"
    found = Probe(artifact).layers(PICTURES)
    maps = FeatureMaps(artifact).read(PICTURES[0], last)
    assert [layer.name for layer in found] == [layer.name for layer in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.channel_zeros == pytest.approx(other.channel_zeros, abs=0.02)
        assert one.small == pytest.approx(other.small, abs=0.002)
    assert maps.dtype == np.float32
    assert 0 < np.abs(maps - expected_maps).max() < 0.01 * np.abs(expected_maps).max()
