"""Weights in files beside the model."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.imports import loading
from artifacts.imports.loading import load_foreign
from tests.artifacts.conftest import Cli
from tests.artifacts.imports.conftest import KEPT
from tests.artifacts.imports.networks import NAMES, network, own_answer, photos, scaled


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """A model with its weights in `folder/weights.bin`, relative to it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    onnx.save(
        network(),
        folder / "net.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    return folder / "net.onnx"


def relocate(path: Path, location: str, **entries: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = {"location": location, **entries}.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_model_are_packed(cli: Cli, parted: Path) -> None:
    assert (parted.parent / "weights.bin").stat().st_size > 500
    command = ["import", parted, "--task", "classification", "--classes", NAMES]
    assert cli(*command, *KEPT).status == 0
    (parted.parent / "weights.bin").unlink()
    answer = Runtime.open(Artifact.open("net")).run(photos())["logits"]
    np.testing.assert_allclose(answer, own_answer(network(), scaled(photos())), atol=1e-5)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "", ".", "a/../../w", "..\\w"]
)
def test_paths_that_leave_the_folder_are_refused(
    tmp_path: Path, parted: Path, location: str
) -> None:
    (parted.parent / "weights.bin").rename(tmp_path / "weights.bin")
    relocate(parted, location)
    with pytest.raises(ArtifactError, match=r"only files in the folder|there is no file"):
        load_foreign(parted)


@pytest.mark.parametrize("linked", ["weights.bin", "below"])
def test_symbolic_links_are_refused(tmp_path: Path, parted: Path, linked: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "weights.bin"
    (parted.parent / "weights.bin").rename(target)
    (parted.parent / linked).symlink_to(target if linked == "weights.bin" else target.parent)
    relocate(parted, linked if linked == "weights.bin" else "below/weights.bin")
    with pytest.raises(ArtifactError, match="no symbolic links"):
        load_foreign(parted)


def test_a_missing_file_of_weights_is_named(parted: Path) -> None:
    (parted.parent / "weights.bin").unlink()
    with pytest.raises(ArtifactError, match=r"there is no file .*weights\.bin; put it beside"):
        load_foreign(parted)


@pytest.mark.parametrize(
    "entries", [{"offset": "-5"}, {"length": "99999999"}, {"offset": "99999"}, {"offset": "x"}]
)
def test_places_outside_the_file_are_refused(parted: Path, entries: dict[str, str]) -> None:
    relocate(parted, "weights.bin", **entries)
    with pytest.raises(ArtifactError, match=r"weights\.bin is too short"):
        load_foreign(parted)


def test_what_no_file_can_hold_is_refused(parted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_BYTES", 500)
    with pytest.raises(ArtifactError, match="more than 2 GB together"):
        load_foreign(parted)
