"""The converted network gives the same embeddings as dlib."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.datasets import load
from artifacts.distribution import install_command
from artifacts.faces import Detector, align
from tests.pictures import photograph
from training.imports.dlib import NAME, Reader, import_dlib, read_weights

GOLDEN = Path(__file__).with_name("dlib_embeddings.npy")
"""What dlib 20.0.1 gives for `photograph(150, 150, seed)`, seeds 0 to 7: float32 8 x 128."""
WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime.open(Artifact.open(NAME))


@pytest.fixture(scope="module")
def weights() -> Path:
    found = find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"face-recognition-models is not installed: {install_command('dlib')}")
    return Path(found.submodule_search_locations[0], "models", WEIGHTS)


def cosines(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> object:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(1) / lengths


def test_the_artifact_gives_what_dlib_gave(runtime: Runtime) -> None:
    expected = np.load(GOLDEN)
    pictures = [np.asarray(photograph(150, 150, seed)) for seed in range(len(expected))]
    given = runtime.run(pictures)["embedding"]
    np.testing.assert_allclose(given, expected, atol=1e-3)
    assert np.min(cosines(given, expected)) > 0.9999


@pytest.mark.data("faces/celeba")
def test_the_artifact_gives_what_dlib_gives_on_faces(runtime: Runtime, weights: Path) -> None:
    dlib = pytest.importorskip("dlib", reason=f"dlib is not installed: {install_command('dlib')}")
    detector = Detector(threads=1)
    people = load("faces/celeba", "test").head(105)
    found = [(picture, detector.find(picture)) for picture in people.images]
    chips = [align(picture, faces[0].landmarks) for picture, faces in found if faces][:100]
    network = dlib.face_recognition_model_v1(str(weights))
    expected = np.array([network.compute_face_descriptor(chip) for chip in chips], np.float32)
    given = runtime.run(chips)["embedding"]
    assert len(given) == 100
    np.testing.assert_allclose(given, expected, atol=1e-3)
    assert np.min(cosines(given, expected)) > 0.999


def test_the_file_of_the_package_becomes_the_artifact(weights: Path, tmp_path: Path) -> None:
    made = import_dlib(weights, tmp_path)
    assert made.hash == Artifact.open(NAME).hash


def test_the_artifact_is_the_default_and_calibrated() -> None:
    artifact = Artifact.open(NAME)
    manifest = artifact.manifest
    assert (manifest.route, manifest.default, manifest.input.fixed_size) == (
        "faces",
        True,
        (150, 150),
    )
    assert artifact.model_path.stat().st_size < 12e6
    assert manifest.verification is not None
    assert [t.target_fmr for t in manifest.verification.thresholds] == [1e-4, 1e-3, 1e-2]
    distances = [t.distance for t in manifest.verification.thresholds]
    assert distances == sorted(distances)
    assert manifest.parameters is not None
    assert manifest.parameters.total == 5_607_488


def test_values_are_read_as_dlib_writes_them() -> None:
    reader = Reader(b"..\x01\x05con_4" + bytes.fromhex("0280128105"))
    reader.skip_past("con_4")
    assert (reader.integer(), reader.integer()) == (4736, -5)
    values = np.array([1.5, -2.0], "<f4")
    head = bytes.fromhex("0102 0102 0101 0101 0101")
    assert Reader(head + values.tobytes()).tensor(2).tolist() == [1.5, -2.0]
    with pytest.raises(ArtifactError, match="3 numbers are expected"):
        Reader(head + values.tobytes()).tensor(3)
    with pytest.raises(ArtifactError, match="not dlib's face network"):
        Reader(head).tensor(2)


@pytest.mark.parametrize("content", [b"", b"junk" * 99, b"\x01\x05con_4", b"\x01\x05con_4\x01"])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="not dlib's face network"):
        read_weights(content)
