"""The real commands as processes: training, resuming after a kill, status."""

import csv
import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.reference import read_reference
from tests.commands import Done, run_in_process
from tests.forks import ROOT
from tests.programs import Program
from training.__main__ import main
from training.device import say_float32
from training.drift_reference import add_reference, held_out
from training.recipe import load_recipe

RUN = ["run", "cifar10-gap", "--profile", "smoke"]
NAME = "cifar10-gap-smoke"


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(folder / "models"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",  # tests share the cores, and waiting threads would block each other
    }


def start(folder: Path, module: str, *arguments: str, **more: str) -> Program:
    """Start a program in `folder`; `more` adds to its environment."""
    return Program(module, arguments, folder, environment(folder) | more)


def within(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The same commands in this process, with `folder` as the working folder."""
    monkeypatch.chdir(folder)
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    return partial(run_in_process, main, "training")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = start(folder, "training", *RUN).wait()
    assert done.status == 0, done.err
    return folder


def test_smoke_learns_and_says_it_is_synthetic(uninterrupted: Path) -> None:
    artifact = Artifact.open(NAME, uninterrupted / "models")
    manifest = artifact.manifest
    accuracy = manifest.metric("accuracy", "test")
    assert manifest.synthetic
    assert accuracy is not None
    assert accuracy > 0.9
    assert manifest.parameters is not None
    assert manifest.parameters.total == 461_150
    card = (uninterrupted / "models" / NAME / "card.md").read_text()
    assert "generated pictures" in card
    reference = read_reference(artifact)
    assert reference is not None
    assert manifest.dataset is not None
    assert reference.moments.pictures == manifest.dataset.validation_samples
    images, data = held_out(manifest)
    again = add_reference(artifact, images, data)
    assert read_reference(again) == reference


def test_killed_and_resumed_gives_the_same_artifact(uninterrupted: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "training", *RUN)
    checkpoint = tmp_path / "runs" / NAME / "checkpoint.pt"
    deadline = time.monotonic() + 200
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (tmp_path / "models" / NAME).exists()
    resumed = start(tmp_path, "training", *RUN).wait()
    assert "continuing after epoch" in resumed.err
    assert resumed.status == 0, resumed.err
    ours = Artifact.open(NAME, tmp_path / "models")
    theirs = Artifact.open(NAME, uninterrupted / "models")
    assert ours.hash == theirs.hash
    assert ours.manifest.metrics == theirs.manifest.metrics
    assert losses(ours) == losses(theirs)


def test_an_artifact_is_halved_and_measured_anew(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(uninterrupted / "models", tmp_path / "models")
    halved = Artifact.open(NAME, tmp_path / "models")  # training has halved it already
    size = halved.model_path.stat().st_size
    files = halved.contents()
    whole = halved.rewrite(halved.manifest, {**files, MODEL_FILE: in_single(files[MODEL_FILE])})
    assert whole.model_path.stat().st_size > 1.8 * size
    train = within(tmp_path, monkeypatch)
    done = train("halve", NAME)
    assert done.status == 0, done.err
    again = Artifact.open(NAME, tmp_path / "models")
    assert again.model_path.stat().st_size == size
    assert again.manifest.metrics == halved.manifest.metrics
    refused = train("halve", NAME)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "half precision already" in refused.err


def test_verdicts_are_fitted_again_with_the_outliers_that_are_named(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(uninterrupted / "models", tmp_path / "models")
    before = Artifact.open(NAME, tmp_path / "models")
    train = within(tmp_path, monkeypatch)
    declared = ("--outliers", "generated:noise", "--outliers", "synthetic/digits:train")
    others = ("--unseen", "generated:drawings", "--elsewhere", "synthetic/objects:test")
    done = train("known", NAME, *declared, *others, "--json")
    assert done.status == 0, done.err
    after = Artifact.open(NAME, tmp_path / "models")
    assert after.model_path.read_bytes() == before.model_path.read_bytes()
    record = after.manifest.known
    assert record is not None
    assert json.loads(done.out)["known"] == record.model_dump(mode="json")
    assert {rate.data: rate.declared for rate in record.refused} == {
        "generated:noise": True,
        "synthetic/digits:train": True,
        "generated:drawings": False,
    }
    assert "synthetic/objects:test" in {rate.data for rate in record.kept}
    assert "generated:drawings" in (after.path / "card.md").read_text()
    refused = train("known", NAME, "--outliers", "generated:nothing")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "generated:noise" in refused.err


def test_an_artifact_is_measured_anew_with_the_input_policy_of_its_recipe(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(uninterrupted / "models", tmp_path / "models")
    before = Artifact.open(NAME, tmp_path / "models")
    train = within(tmp_path, monkeypatch)
    recipe = load_recipe("cifar10-gap", "smoke")
    side = int(before.manifest.input.native_side[0])

    def with_recipe(**changes: object) -> Done:
        changed = replace(recipe, **changes)
        monkeypatch.setattr("training.remeasure.load_recipe", lambda *_: changed)
        return train("remeasure", NAME)

    done = with_recipe(detail=side, max_aspect=1.5)
    assert done.status == 0, done.err
    after = Artifact.open(NAME, tmp_path / "models")
    assert after.hash == before.hash
    assert (after.manifest.input.detail, after.manifest.input.max_aspect) == (side, 1.5)
    assert f"shrunk to {side} px" in after.read("card.md").decode()
    assert "max_aspect: 1.5" in after.read("recipe.yaml").decode()
    # pictures of the training set's size are shown as before
    sizes = [[m for m in a.manifest.metrics if m.size is None] for a in (before, after)]
    assert sizes[0] == sizes[1]
    assert after.manifest.temperature == before.manifest.temperature
    again = with_recipe()  # without either setting, it is the artifact that it was
    assert again.status == 0, again.err
    restored = Artifact.open(NAME, tmp_path / "models").manifest
    assert (restored.input, restored.metrics) == (before.manifest.input, before.manifest.metrics)
    for changes, reason in (
        ({"detail": side // 2}, "training pictures would be shown differently"),
        ({"interpolation": "bilinear"}, "training pictures would be shown differently"),
        ({"epochs": 9}, "changed in more than detail, max_aspect and interpolation"),
    ):
        refused = with_recipe(**changes)
        assert (refused.status, refused.err.count("\n")) == (1, 1)
        assert reason in refused.err


def in_single(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "Cast" and node.input[0] in stored:
            tensor = stored[node.input[0]]
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
            model.graph.node.remove(node)
    return model.SerializeToString()


def losses(artifact: Artifact) -> list[tuple[str, str]]:
    rows = csv.DictReader((artifact.path / "history.csv").read_text().splitlines())
    return [(row["train_loss"], row["validation_loss"]) for row in rows]


def test_a_second_run_has_nothing_to_do(
    uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = within(uninterrupted, monkeypatch)
    started = time.monotonic()
    done = train(*RUN)
    assert (done.status, "up to date" in done.out) == (0, True)
    assert time.monotonic() - started < 60
    listed = train("list", "--profile", "smoke", "--json")
    states = {row["name"]: row["current"] for row in json.loads(listed.out)}
    assert states["cifar10-gap"] is True


def test_changed_settings_make_a_model_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["--set", "seed=1", "--set", "epochs=1", "--name", "mine"]
    done = within(tmp_path, monkeypatch)(*RUN, *changes)
    assert done.status == 0, done.err
    manifest = Artifact.open("mine-smoke", tmp_path / "models").manifest
    assert manifest.run is not None
    assert (manifest.run.seed, manifest.run.epochs) == (1, 1)
    assert manifest.run.command == shlex.join(["python", "-m", "training", *RUN, *changes])
    assert not manifest.default


@pytest.mark.parametrize(("fast", "used"), [(True, "bf16"), (False, "no")])
def test_the_precision_that_was_used_is_kept(
    fast: bool, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.device.has_bf16", lambda: fast)
    say_float32.cache_clear()
    train = within(tmp_path, monkeypatch)
    changes = ["--set", "precision=bf16", "--set", "epochs=1", "--name", "mine"]
    command = ["run", "mnist-relu-cross-entropy-sgd", "--profile", "smoke", *changes]
    done = train(*command)
    assert done.status == 0, done.err
    assert ("training in float32 instead" in done.err) is not fast
    manifest = Artifact.open("mine-smoke", tmp_path / "models").manifest
    assert manifest.run is not None
    assert manifest.run.precision == used
    assert "up to date" in train(*command).out


def test_show_counts_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = within(tmp_path, monkeypatch)("show", "cifar10-gap", "--json")
    shown = json.loads(done.out)
    assert shown["parameters"] == {"total": 461_150, "trainable": 461_150}
    assert shown["reported"]["accuracy/test"] == 0.84


def test_show_takes_changes_as_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show = partial(within(tmp_path, monkeypatch), "show", "cifar10-gap", "--json", "--set")
    assert json.loads(show("seed=7").out)["seed"] == 7
    named = json.loads(show("augment.cutout=3", "--name", "mine").out)
    assert (named["name"], named["augment"]["cutout"]) == ("mine", 3)
    refused = show("sede=7")
    assert (refused.status, refused.err.count("\n")) == (1, 1)


def write_birds(root: Path, *names: str) -> None:
    """Write ten pictures, all different, into each folder of `names`."""
    for place, name in enumerate(names):
        (root / "birds" / name).mkdir(parents=True)
        for number in range(10):
            picture = Image.new("RGB", (64, 64), (place, number, 0))
            picture.save(root / "birds" / name / f"{number}.png")


ON_BIRDS = ["--profile", "smoke", "--set", "data.name=image_folder/birds"]
ON_BIRDS += ["--set", "data.validation=4", "--set", "data.size=[64, 64]", "--name", "birds"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train/owl", "train/wren", "test"], "test: no pictures found"),
        (["train/owl", "train/wren", "test/tit"], "has no pictures of this class"),
    ],
)
def test_unusable_test_pictures_are_told_before_training(
    folders: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_birds(tmp_path, *folders)
    train = within(tmp_path, monkeypatch)
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    monkeypatch.setattr("training.run.fit", None)
    for recipe in ("cifar10-gap", "cars-lite0-crops"):
        done = train("run", recipe, *ON_BIRDS)
        assert done.status == 1
        assert message in done.err
        assert "Traceback" not in done.err


def test_a_head_of_another_shape_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_birds(tmp_path, "owl", "wren")
    train = within(tmp_path, monkeypatch)
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    monkeypatch.setattr("training.run.fit", None)
    done = train("run", "cars-lite0-crops", *ON_BIRDS, "--set", "network.options.hidden=8")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "birds cannot start from the head of birds-head" in done.err


def test_own_pictures_without_splits_are_divided_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_birds(tmp_path, "owl", "wren", "tit")
    train = within(tmp_path, monkeypatch)
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    done = train("run", "cars-lite0-crops", *ON_BIRDS)
    assert done.status == 0, done.err
    assert "pictures held out of image_folder/birds" in done.out
    for name in ("birds-smoke", "birds-head-smoke"):
        artifact = Artifact.open(name, tmp_path / "models")
        manifest = artifact.manifest
        data = manifest.dataset
        assert data is not None
        assert data.divided
        assert (data.name, manifest.classes) == ("image_folder/birds", ("owl", "tit", "wren"))
        tested = {m.samples for m in manifest.metrics if m.split == "test"}
        assert tested == {30 - data.train_samples - data.validation_samples}
        assert (
            f"{tested.pop()} of its pictures, chosen by" in (artifact.path / "card.md").read_text()
        )
    assert {path.name for path in (tmp_path / "models").iterdir()} == {
        "birds-smoke",
        "birds-head-smoke",
    }


@pytest.mark.parametrize(
    "command",
    [
        ["run", "nothing"],
        ["show", "nothing"],
        ["run"],
        ["dance"],
        ["run", "cifar10-gap", "--set", "seed=1"],
        ["run", "cifar10-gap", "--name", "mine"],
        ["run", "cifar10-gap", "--set", "seed", "--name", "mine"],
        ["run", "cifar10-gap", "--set", "epochs=many", "--name", "mine"],
        ["run", "cifar10-gap", "--set", "seed=1", "--name", "cifar10-fast"],
        ["run", "cifar10-gap", "--set", "seed=1", "--name", "../mine"],
    ],
)
def test_mistakes_end_in_one_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = within(tmp_path, monkeypatch)(*command)
    assert done.status != 0
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
