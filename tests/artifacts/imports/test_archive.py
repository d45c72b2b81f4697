"""Archives as `torch-model-archiver` writes them are imported, and nothing in them is run."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import onnx
import pytest

from artifacts import Artifact
from artifacts.errors import ArtifactError
from artifacts.imports.archive import MANIFEST, onnx_file
from tests.artifacts.conftest import Cli, assert_refused
from tests.graphs import foreign_model

NAMES = {str(i): [f"n{i}", f"thing {i}"] for i in range(5)}


def archive(path: Path, files: dict[str, Any] | None = None, **model: Any) -> Path:
    """Write an archive as torch-model-archiver 0.12 does; `model` overrides its manifest's."""
    network = foreign_model()
    dims = network.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_value = dims[3].dim_value = 224
    told = {"modelName": "net", "serializedFile": "net.onnx", "handler": "image_classifier"} | model
    manifest = {"runtime": "python", "model": told, "archiverVersion": "0.12.0"}
    content = {
        "net.onnx": network.SerializeToString(),
        "index_to_name.json": json.dumps(NAMES),
        MANIFEST: json.dumps(manifest),
    } | (files or {})
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, data in content.items():
            if data is not None:
                file.writestr(name, data)
    return path


def test_an_archive_is_imported_as_its_handler_runs_it(cli: Cli, tmp_path: Path) -> None:
    done = cli("import", archive(tmp_path / "net.mar"), "--task", "classification")
    assert done.status == 0, done.err
    assert "the archive of TorchServe, handler image_classifier" in done.out
    artifact = Artifact.open("net")
    assert artifact.manifest.classes == tuple(f"thing {i}" for i in range(5))
    policy = artifact.manifest.input
    assert (policy.resize, policy.fixed_size, policy.resize_to) == ("crop", (224, 224), 256)
    assert policy.interpolation == "bilinear"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({str(i): f"c{i}" for i in (3, 1, 0, 2, 4)}, ("c0", "c1", "c2", "c3", "c4")),
        ({"object_type_names": ["a", "b", "c", "d", "e"]}, ("a", "b", "c", "d", "e")),
    ],
)
def test_other_forms_of_names(
    cli: Cli, tmp_path: Path, names: dict[str, Any], expected: tuple[str, ...]
) -> None:
    path = archive(tmp_path / "net.mar", {"index_to_name.json": json.dumps(names)})
    assert cli("import", path, "--task", "classification").status == 0
    assert Artifact.open("net").manifest.classes == expected


def test_options_come_before_the_archive(cli: Cli, tmp_path: Path) -> None:
    path = archive(tmp_path / "net.mar")
    given = ("--resize", "squash", "--classes", "a,b,c,d,e", "--name", "mine")
    assert cli("import", path, "--task", "classification", *given).status == 0
    manifest = Artifact.open("mine").manifest
    assert (manifest.input.resize, manifest.classes) == ("squash", tuple("abcde"))


def test_the_preprocessing_of_another_handler_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    path = archive(tmp_path / "net.mar", {"handler.py": "raise SystemExit(9)"}, handler="handler")
    assert_refused(cli("import", path, "--task", "classification"), "--preset", 2)


@pytest.mark.parametrize(
    ("files", "model", "reason"),
    [
        ({}, {"serializedFile": "net.pt"}, "the network of the archive is 'net.pt'"),
        ({}, {"serializedFile": None}, "'code only'"),
        ({}, {"serializedFile": "../net.onnx"}, "not an ONNX file"),
        ({MANIFEST: None}, {}, "MANIFEST.json of the archive is missing or damaged"),
        ({MANIFEST: "[]"}, {}, "missing or damaged"),
    ],
)
def test_what_cannot_be_imported_is_said(
    cli: Cli, tmp_path: Path, files: dict[str, Any], model: dict[str, Any], reason: str
) -> None:
    path = archive(tmp_path / "net.mar", files, **model)
    assert_refused(cli("import", path, "--task", "classification"), reason, 1)


@pytest.mark.parametrize("names", ['{"1": "a"}', '{"0": []}', "[", "3"])
def test_names_that_are_not_understood_have_to_be_given(
    cli: Cli, tmp_path: Path, names: str
) -> None:
    path = archive(tmp_path / "net.mar", {"index_to_name.json": names})
    assert_refused(cli("import", path, "--task", "classification"), "--classes", 2)
    assert cli("import", path, "--task", "classification", "--classes", "a,b,c,d,e").status == 0


def test_no_file_leaves_the_temporary_folder(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.mar", {"../../outside": "x", "/outside": "x"})
    before = set(tmp_path.rglob("*"))
    with onnx_file(path) as network:
        assert onnx.load(network).graph.name == "foreign"
        assert (network.parent / "outside").is_file()
        folder = network.parent
    assert not folder.exists()
    assert set(tmp_path.rglob("*")) == before


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "net.mar")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="cannot be unpacked"), onnx_file(path):
        pass


def test_an_onnx_file_is_taken_as_it_is(tmp_path: Path) -> None:
    onnx.save(foreign_model(), tmp_path / "net.onnx")
    with onnx_file(tmp_path / "net.onnx") as path:
        assert path == tmp_path / "net.onnx"
