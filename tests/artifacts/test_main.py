"""The command line, through the function that `python -m artifacts` calls."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts import Artifact, Runtime
from artifacts.__main__ import main
from artifacts.commands import run_command
from artifacts.decision import Verification
from artifacts.graph import adapt
from tests.artifacts.test_graph import MEAN, STD, fix_batch, foreign_model
from tests.graphs import tiny_artifact, tiny_model

CLASSES = "a,b,c,d,e"


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "models"
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    return path


@pytest.fixture
def cli(
    root: Path,  # noqa: ARG001  the commands find it in the environment
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["artifacts", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_command(main, "python -m artifacts")
        captured = capsys.readouterr()
        return Done(int(str(end.value.code)), captured.out, captured.err)

    return run


def assert_refused(done: Done, message: str, status: int = 1) -> None:
    assert done.status == status, done
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_the_module_runs_as_a_program(root: Path) -> None:
    tiny_artifact(root)
    command = [sys.executable, "-m", "artifacts"]
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True)
    assert "tiny" in listed.stdout
    assert listed.stderr == ""
    failed = subprocess.run([*command, "show", "no"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: no artifact called 'no'")


def test_list(cli: Cli, root: Path) -> None:
    assert cli("list") == Done(0, f"no artifacts in {root}\n", "")
    data = {
        "name": "synthetic/objects",
        "fingerprint": "0" * 64,
        "synthetic": True,
        "train_samples": 10,
        "validation_samples": 2,
    }
    accuracy = {"name": "accuracy", "value": 0.87654, "split": "test", "samples": 10}
    tiny_artifact(
        root,
        route="cifar10",
        dataset=data,
        metrics=[accuracy],
        parameters={"total": 1234567, "trainable": 1},
    )
    tiny_artifact(root, "another")
    done = cli("list")
    assert (done.status, done.err) == (0, "")
    row = next(line for line in done.out.splitlines() if "tiny" in line)
    for shown in ("cifar10", "synthetic/objects (synthetic)", "1,234,567", "0.8765"):
        assert shown in row
    listed = json.loads(cli("list", "--json").out)
    assert [each["name"] for each in listed] == ["another", "tiny"]
    assert listed[1]["metrics"][0]["value"] == 0.87654


def test_show(cli: Cli, root: Path) -> None:
    artifact = tiny_artifact(root)
    shown = json.loads(cli("show", "tiny", "--json").out)
    assert shown == artifact.manifest.model_dump(mode="json")
    printed = cli("show", "tiny")
    assert printed.status == 0
    path, _, text = printed.out.partition("\n")
    assert path == str(artifact.path)
    assert json.loads(text) == shown
    assert_refused(cli("show", "other"), "no artifact called 'other'")


def test_list_shows_the_whole_beside_the_broken(cli: Cli, root: Path) -> None:
    tiny_artifact(root)
    broken = tiny_artifact(root, "broken")
    broken.model_path.unlink()
    (tiny_artifact(root, "future").path / "manifest.json").write_text('{"version": 99}')
    done = cli("list")
    assert (done.status, "tiny" in done.out) == (1, True)
    lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["broken", "future"]
    assert "missing" in lines[0]
    assert "version 99" in lines[1]
    entries = {entry["name"]: entry for entry in json.loads(cli("list", "--json").out)}
    assert [name for name, entry in entries.items() if "error" in entry] == ["broken", "future"]


def test_no_command_shows_the_help(cli: Cli) -> None:
    done = cli()
    assert done.status == 2
    assert "Commands:\n" in done.err


def test_verify(cli: Cli, root: Path) -> None:
    assert_refused(cli("verify"), f"no artifacts under {root}")
    tiny_artifact(root)
    broken = tiny_artifact(root, "broken")
    assert cli("verify") == Done(0, "broken: ok\ntiny: ok\n", "")

    broken.model_path.write_bytes(broken.model_path.read_bytes()[:-1])
    done = cli("verify")
    assert (done.status, done.out) == (1, "tiny: ok\n")
    assert done.err.startswith(f"broken: {broken.model_path}: sha256")
    assert done.err.count("\n") == 1
    assert cli("verify", "tiny") == Done(0, "tiny: ok\n", "")
    assert cli("verify", "broken").status == 1
    assert cli("verify", "other").status == 1

    done = cli("verify", "--json")
    results = json.loads(done.out)
    assert (done.status, done.err) == (1, "")
    assert results.pop("tiny") == "ok"
    assert "does not match" in results.pop("broken")
    assert not results


def test_verify_reports_a_folder_without_manifest(cli: Cli, root: Path) -> None:
    (root / "half").mkdir(parents=True)
    done = cli("verify")
    assert done.status == 1
    assert "half/manifest.json: missing" in done.err


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "Foreign.onnx"
    onnx.save(foreign_model(), path)
    return path


NORMALISATION = ("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)))


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
    expected = adapt(foreign_model(), "classification", MEAN, STD).SerializeToString()
    np.testing.assert_allclose(
        Runtime.open(artifact).run([picture])["logits"],
        Runtime(expected, artifact.manifest.input).run([picture])["logits"],
        atol=1e-5,
    )


def test_import_as_json_under_a_name_with_classes_from_a_file(
    cli: Cli, tmp_path: Path, onnx_file: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("red, deep\ngreen\nblue\ngrey\nwhite\n", encoding="utf-8")
    command = ["import", onnx_file, "--task", "classification", "--classes", names]
    done = cli(*command, "--name", "mine", "--json")
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out) == Artifact.open("mine").manifest.model_dump(mode="json")
    assert Artifact.open("mine").manifest.classes[0] == "red, deep"


def test_import_of_many_class_names(cli: Cli, tmp_path: Path) -> None:
    names = [f"class number {i}" for i in range(200)]
    onnx.save(tiny_model(classes=200), tmp_path / "wide.onnx")
    command = ["import", tmp_path / "wide.onnx", "--task", "classification"]
    assert cli(*command, "--classes", ",".join(names)).status == 0
    assert list(Artifact.open("wide").manifest.classes) == names


def test_import_of_an_embedding(cli: Cli, onnx_file: Path) -> None:
    assert cli("import", onnx_file, "--task", "embedding").status == 0
    artifact = Artifact.open("foreign")
    answer = Runtime.open(artifact).run([np.zeros((50, 60, 3), np.uint8)])
    assert {name: rows.shape for name, rows in answer.items()} == {"embedding": (1, 5)}
    assert artifact.manifest.verification == Verification(metric="euclidean")
    command = ["import", onnx_file, "--task", "embedding", "--metric", "cosine", "--name", "angle"]
    assert cli(*command, "--route", "faces").status == 0
    manifest = Artifact.open("angle").manifest
    assert manifest.verification == Verification(metric="cosine")
    assert manifest.route == "faces"


def test_import_of_a_graph_of_one_size(cli: Cli, tmp_path: Path) -> None:
    model = foreign_model()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_value, dims[3].dim_value = 24, 32
    onnx.save(model, tmp_path / "fixed.onnx")
    command = ["import", tmp_path / "fixed.onnx", "--task", "classification"]
    assert cli(*command, "--classes", CLASSES).status == 0
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
        (fix_batch, "must leave N free"),
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
    assert_refused(cli(*command), message)
    assert not list(root.glob("*"))


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (["--classes", "a,b"], "gives 5 logits, --classes names 2", 1),
        ([], "needs --classes", 2),
        (["--classes", "a,b,c,d,a"], "a name of its own", 1),
        (["--classes", CLASSES, "--name", "No Name"], "'No Name' cannot name", 2),
        (["--classes", CLASSES, "--route", "zoo"], "'zoo' is not one of", 2),
        (["--classes", CLASSES, "--native", "32,16"], "the lower one first", 1),
        (["--classes", CLASSES, "--mean", "1,2"], "3 numbers split by commas", 2),
        (["--classes", CLASSES, "--std", "0,1,1"], "three numbers above 0", 1),
        (["--classes", CLASSES, "--native", "small"], "2 numbers split by commas", 2),
    ],
)
def test_import_refuses_wrong_options(
    cli: Cli, onnx_file: Path, options: list[str], message: str, status: int
) -> None:
    assert_refused(cli("import", onnx_file, "--task", "classification", *options), message, status)


def test_import_replaces_nothing_unasked(cli: Cli, root: Path, onnx_file: Path) -> None:
    before = tiny_artifact(root, "precious").hash
    command = ["import", onnx_file, "--task", "classification", "--classes", CLASSES]
    command += ["--name", "precious"]
    assert_refused(cli(*command), "exists already")
    assert Artifact.open("precious").hash == before
    assert cli(*command, "--force").status == 0
    assert Artifact.open("precious").hash != before


def test_import_bounds_what_a_picture_costs(cli: Cli, onnx_file: Path) -> None:
    assert cli("import", onnx_file, "--task", "classification", "--classes", CLASSES).status == 0
    assert Artifact.open("foreign").manifest.input.target(4096, 4096) == (512, 512)


def test_import_refuses_other_files(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "notes.json"
    text.write_text("{}")
    assert_refused(cli("import", text, "--task", "embedding"), "notes.json: not readable as ONNX")
    assert_refused(cli("import", tmp_path / "no", "--task", "embedding"), "does not exist", 2)
    assert_refused(cli("import", text, "--task", "segmentation"), "'classification'", 2)


def test_a_wrong_command_is_refused(cli: Cli) -> None:
    assert_refused(cli("lits"), "Try: python -m artifacts --help", 2)
