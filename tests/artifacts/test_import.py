"""Commands: import."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts import Artifact, Runtime
from artifacts.verification.decision import Verification
from tests.artifacts.conftest import Cli, assert_refused
from tests.artifacts.test_adapt import adapted
from tests.commands import Done
from tests.graphs import MEAN, STD, foreign_model, tiny_artifact, tiny_model
from tests.pictures import photograph

CLASSES = "a,b,c,d,e"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "Foreign.onnx"
    onnx.save(foreign_model(), path)
    return path


NORMALISATION = ("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)))
KEPT = (*NORMALISATION, "--resize", "none")


def test_import(cli: Cli, root: Path, onnx_file: Path) -> None:
    command = ["import", onnx_file, "--task", "classification", "--classes", CLASSES]
    done = cli(*command, *NORMALISATION, "--native", "24,48", "--route", "cars")
    assert done == Done(0, f"imported as foreign: {root / 'foreign'}\n", "")
    artifact = Artifact.open("foreign")
    assert artifact.manifest.classes == tuple(CLASSES.split(","))
    assert artifact.manifest.input.native_side == (24, 48)
    assert artifact.manifest.route == "cars"
    assert cli("verify").status == 0

    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    expected = adapted(foreign_model(), "classification", MEAN, STD).SerializeToString()
    np.testing.assert_allclose(
        Runtime.open(artifact).run([picture])["logits"],
        Runtime(expected, artifact.manifest.input).run([picture])["logits"],
        atol=1e-5,
    )


def test_import_as_json_under_a_name_with_classes_from_a_file(
    cli: Cli, tmp_path: Path, onnx_file: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("red, deep \ngreen\nblue\ngrey\nwhite\n\n", encoding="utf-8")
    command = ["import", onnx_file, "--task", "classification", "--classes", names]
    done = cli(*command, *KEPT, "--name", "mine", "--json")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out) == Artifact.open("mine").manifest.model_dump(mode="json")
    assert Artifact.open("mine").manifest.classes[0] == "red, deep"
    names.write_bytes(b"\xff\xfe")
    assert_refused(cli(*command), "not readable as UTF-8 text", 2)


def test_import_for_a_route_of_its_own(cli: Cli, onnx_file: Path) -> None:
    command = ["import", onnx_file, "--task", "classification", "--classes", CLASSES]
    assert cli(*command, *KEPT, "--route", "my-zoo-2").status == 0
    assert Artifact.open("foreign").manifest.route == "my-zoo-2"


def test_import_of_many_class_names(cli: Cli, tmp_path: Path) -> None:
    names = [f"class number {i}" for i in range(200)]
    onnx.save(tiny_model(classes=200), tmp_path / "wide.onnx")
    command = ["import", tmp_path / "wide.onnx", "--task", "classification", "--resize", "none"]
    assert cli(*command, "--classes", ",".join(names)).status == 0
    assert list(Artifact.open("wide").manifest.classes) == names


def test_import_of_an_embedding(cli: Cli, onnx_file: Path) -> None:
    assert cli("import", onnx_file, "--task", "embedding", *KEPT).status == 0
    artifact = Artifact.open("foreign")
    answer = Runtime.open(artifact).run([np.zeros((50, 60, 3), np.uint8)])
    assert {name: rows.shape for name, rows in answer.items()} == {"embedding": (1, 5)}
    assert artifact.manifest.verification == Verification(metric="euclidean")
    command = ["import", onnx_file, "--task", "embedding", "--metric", "cosine", "--name", "angle"]
    assert cli(*command, *KEPT, "--route", "faces").status == 0
    manifest = Artifact.open("angle").manifest
    assert manifest.verification == Verification(metric="cosine")
    assert manifest.route == "faces"


def test_import_of_a_graph_of_one_size(cli: Cli, tmp_path: Path) -> None:
    model = foreign_model()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_value, dims[3].dim_value = 24, 32
    onnx.save(model, tmp_path / "fixed.onnx")
    command = ["import", tmp_path / "fixed.onnx", "--task", "classification"]
    command += ["--classes", CLASSES, "--resize", "squash", "--interpolation", "bicubic"]
    assert cli(*command, *NORMALISATION).status == 0
    artifact = Artifact.open("fixed")
    assert artifact.manifest.input.fixed_size == (24, 32)
    pictures = [np.zeros((9, 200, 3), np.uint8), np.zeros((24, 32, 3), np.uint8)]
    assert Runtime.open(artifact).run(pictures)["logits"].shape == (2, 5)


def flat_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Identity"
    del model.graph.node[-1].input[1:]
    model.graph.node[-1].input[0] = "c"


def infinite_weights(model: onnx.ModelProto) -> None:
    head = np.full((6, 5), np.inf, np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(head, "head"))


def fails_when_run(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, 9]), "shape"))
    reshape = helper.make_node("Reshape", ["flat", "shape"], ["seven"])
    model.graph.node.insert(len(model.graph.node) - 1, reshape)
    model.graph.node[-1].input[0] = "seven"
    model.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.ones((9, 5), np.float32), "head")
    )


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flat_output, "the output has shape (1, 6, 64, 64)"),
        (infinite_weights, "NaN or infinity"),
        (fails_when_run, "the model fails on a picture"),
        (two_inputs, "the model has 2 inputs"),
    ],
)
def test_import_refuses_what_cannot_be_served(
    cli: Cli, root: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = foreign_model()
    change(model)
    onnx.save(model, tmp_path / "bad.onnx")
    command = ["import", tmp_path / "bad.onnx", "--task", "classification", "--classes", CLASSES]
    assert_refused(cli(*command, *KEPT), message)
    assert not list(root.glob("*"))


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (["--classes", "a,b"], "gives 5 logits, but --classes has 2 names", 1),
        ([], "needs class names; give them with --classes", 2),
        (["--classes", "a,b,c,d,a"], "a name of its own", 1),
        (["--classes", CLASSES, "--name", "No Name"], "'No Name' is not a valid name", 2),
        (["--classes", CLASSES, "--route", "Zoo"], "--route 'Zoo': a route has 1 to 40 of", 2),
        (["--classes", CLASSES, "--route", "models"], "is not 'feedback' or 'models'", 2),
        (["--classes", CLASSES, "--route", "faces"], "the route of embedding models", 2),
        (["--classes", CLASSES, "--native", "32,16"], "the lower one first", 1),
        (["--classes", CLASSES, "--mean", "1,2"], "3 numbers separated by commas", 2),
        (["--classes", CLASSES, "--mean", "0", "--std", "0,1,1"], "three numbers above 0", 1),
        (["--classes", CLASSES, "--native", "small"], "2 numbers separated by commas", 2),
    ],
)
def test_import_refuses_wrong_options(
    cli: Cli, onnx_file: Path, options: list[str], message: str, status: int
) -> None:
    command = ["import", onnx_file, "--task", "classification", *KEPT, *options]
    assert_refused(cli(*command), message, status)


def test_import_replaces_nothing_unasked(cli: Cli, root: Path, onnx_file: Path) -> None:
    before = tiny_artifact(root, "precious").hash
    command = ["import", onnx_file, "--task", "classification", "--classes", CLASSES]
    command += ["--name", "precious", *KEPT]
    assert_refused(cli(*command), "exists already")
    assert Artifact.open("precious").hash == before
    assert cli(*command, "--force").status == 0
    assert Artifact.open("precious").hash != before


def test_import_bounds_what_a_picture_costs(cli: Cli, onnx_file: Path) -> None:
    command = ["import", onnx_file, "--task", "classification", "--classes", CLASSES]
    assert cli(*command, *KEPT).status == 0
    assert Artifact.open("foreign").manifest.input.target(4096, 4096) == (512, 512)


def test_import_refuses_other_files(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "notes.json"
    text.write_text("{}")
    assert_refused(cli("import", text, "--task", "embedding"), "notes.json: not readable as ONNX")
    assert_refused(cli("import", tmp_path / "no", "--task", "embedding"), "does not exist", 2)
    assert_refused(cli("import", text, "--task", "segmentation"), "'classification'", 2)


def test_import_of_a_multi_label_model_ends_before_the_sigmoid(cli: Cli, tmp_path: Path) -> None:
    foreign = foreign_model(outputs=("y", "q"))
    last = foreign.graph.node[-1]
    last.op_type = "Sigmoid"
    del foreign.graph.output[0]  # only the probabilities are left
    path = tmp_path / "labels.onnx"
    onnx.save(foreign, path)
    command = ["import", path, "--task", "multi-label", "--classes", CLASSES, *KEPT]
    assert cli(*command, "--route", "scenes").status == 0
    artifact = Artifact.open("labels")
    assert artifact.manifest.task == "multi-label"
    assert artifact.manifest.thresholds == (0.5,) * 5
    assert artifact.manifest.route == "scenes"
    logits = adapted(foreign_model(), "classification", MEAN, STD).SerializeToString()
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    outputs = Runtime.open(artifact).run([picture])
    expected = Runtime(logits, artifact.manifest.input).run([picture])
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-5)
    np.testing.assert_allclose(outputs["features"], expected["features"], atol=1e-5)


def test_import_of_a_multi_label_model_needs_classes(cli: Cli, onnx_file: Path) -> None:
    done = cli("import", onnx_file, "--task", "multi-label")
    assert_refused(done, "a classifier needs class names", 2)
    done = cli("import", onnx_file, "--task", "multi-label", "--classes", "a,b", *KEPT)
    assert_refused(done, "5 logits, but --classes has 2 names")


def test_reference_pictures_give_verdicts_and_sets(
    cli: Cli, root: Path, tmp_path: Path, onnx_file: Path
) -> None:
    folder = tmp_path / "reference"
    for number, name in enumerate(CLASSES.split(",")):
        (folder / name).mkdir(parents=True)
        for seed in range(20):
            photograph(24, 24, 100 * number + seed).save(folder / name / f"{seed}.png")
    command = ["import", onnx_file, "--task", "classification", "--classes", CLASSES, *KEPT]
    assert cli(*command, "--reference", folder).status == 0
    manifest = Artifact.open("foreign").manifest
    assert manifest.sets is not None
    assert manifest.sets.pictures == 50
    assert manifest.known is not None
    assert "known.npz" in manifest.files
    (folder / "strange").mkdir()
    photograph(24, 24).save(folder / "strange" / "1.png")
    refused = cli(*command, "--name", "again", "--reference", folder)
    assert_refused(refused, "'strange' is not a class of the model")
    assert not (root / "again").exists()
