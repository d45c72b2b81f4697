"""The real command as a process: from a folder of pictures to a model that a server answers for."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from artifacts import Artifact, Runtime
from artifacts.artifact import MODEL_FILE
from artifacts.datasets import load
from tests.commands import Done, run_in_process
from tests.forks import ROOT
from tests.programs import Program
from tests.server import running_server
from training.commands import group
from training.data import as_array

MODEL = "test_efficientnet"
EACH = 24
NAME = "mine"
CLASSES = ("cross", "ring's", "stripes")


def draw(kind: int, rng: np.random.Generator) -> Image.Image:
    """A picture of a class, noisy enough that some are hard to tell."""
    height, width = int(rng.integers(30, 44)), int(rng.integers(40, 56))
    y, x = np.mgrid[:height, :width] - rng.uniform(12, 20, 2)[:, None, None]
    shapes = (np.minimum(abs(y), abs(x)) < 3, abs(np.hypot(y, x) - 9) < 3, (y // 4) % 2 == 0)
    colour = rng.uniform(60, 200, 3)
    pixels = shapes[kind][..., None] * colour + rng.normal(40, 60, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, and the weights of a small network beside it."""
    root = tmp_path_factory.mktemp("own") / "pictures"
    rng = np.random.default_rng(0)
    for kind, label in enumerate(CLASSES):
        (root / label).mkdir(parents=True)
        for number in range(EACH):
            draw(kind, rng).save(root / label / f"{number:02}.png")
    torch.manual_seed(0)
    network = timm.create_model(MODEL, num_classes=0)
    save_file(network.state_dict(), root.parent / "weights.safetensors")
    return root


def command(pictures: Path, *more: str) -> list[str]:
    own = ["--name", NAME, "--model", MODEL, "--side", "32", "--budget", "2m"]
    own += ["--weights", str(pictures.parent / "weights.safetensors")]
    return [str(pictures), *own, *more]


def start(folder: Path, *words: str) -> Program:
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(folder / "models"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",  # tests share the cores
    }
    return Program("training.pictures.command", words, folder, environment)


def finish(folder: Path, *words: str) -> Done:
    return start(folder, *words).wait()


def weights(folder: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    graph = onnx.load(folder / "models" / NAME / MODEL_FILE).graph
    return {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A finished run: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    status, out, err = finish(folder, *command(pictures))
    assert status == 0, err
    return folder, out, err


def test_a_folder_becomes_a_model(run: tuple[Path, str, str]) -> None:
    folder, out, err = run
    plan = json.loads((folder / "runs" / NAME / "plan.json").read_text())
    manifest = Artifact.open(NAME, folder / "models").manifest
    assert manifest.classes == CLASSES
    assert manifest.route is None
    assert manifest.input.fixed_size == tuple(plan["size"])
    tested = plan["tested"]
    assert manifest.metric("accuracy", "test") == pytest.approx(tested["right"] / tested["total"])
    assert plan["chosen"] in plan["candidates"]
    assert f"test pictures: {tested['right'] / tested['total']:.1%} (95 % interval" in out
    assert "to train" in err
    assert (folder / "runs" / NAME / "report" / "index.html").is_file()
    assert not (folder / "runs" / NAME / "all").exists()
    assert plan["spent"] < 120


def test_the_last_line_asks_a_server(run: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, out, _ = run
    line = out.strip().splitlines()[-1]
    assert line.startswith("curl --data-binary @")
    assert line.endswith(f"http://localhost:3000/v1/models/{NAME}/classify")
    with running_server(folder / "models", tmp_path / "server.log") as address:
        asked = line.replace("http://localhost:3000", address)
        answer = subprocess.run(  # noqa: S602 - the line is meant for a shell
            asked,
            shell=True,
            capture_output=True,
            check=True,
            text=True,
        )
    top = json.loads(answer.stdout)["pictures"][0]["top"][0]["class"]
    assert top in CLASSES


def test_training_and_serving_see_the_same_pixels(
    run: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = run
    monkeypatch.chdir(folder)
    artifact = Artifact.open(NAME, folder / "models")
    source = load(f"table/runs/{NAME}/pictures.csv", "train")
    trained = as_array(source, artifact.manifest.input.fixed_size)
    runtime = Runtime.open(artifact)
    assert len({source.images[i].shape for i in range(len(source))}) > 1
    for index in range(0, len(source), 7):
        np.testing.assert_array_equal(trained[index], runtime.prepare(source.images[index]))


def test_a_finished_run_is_not_trained_again(run: tuple[Path, str, str], pictures: Path) -> None:
    folder, out, _ = run
    before = (folder / "models" / NAME / "manifest.json").read_bytes()
    status, again, err = finish(folder, *command(pictures))
    assert (status, again) == (0, out)
    assert "trained already" in err
    assert (folder / "models" / NAME / "manifest.json").read_bytes() == before


def test_a_killed_run_continues_with_the_same_result(pictures: Path, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(killed, *command(pictures))
    checkpoint = killed / "runs" / NAME / "all" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        assert process.running, process.err
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.copytree(killed, whole)
    (whole / "runs" / NAME / "all" / "checkpoint.pt").unlink()
    for folder in (killed, whole):
        status, _, err = finish(folder, *command(pictures))
        assert status == 0, err
    assert "all" in json.loads((killed / "runs" / NAME / "plan.json").read_text())["candidates"]
    first, second = weights(killed), weights(whole)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_ctrl_c_says_how_to_continue(pictures: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *command(pictures))
    plan = tmp_path / "runs" / NAME / "plan.json"
    deadline = time.monotonic() + 120
    while not plan.exists() and time.monotonic() < deadline:
        assert process.running, process.err
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    status, _, err = process.wait(timeout=60)
    assert status == 130
    last = err.strip().splitlines()[-1]
    words = shlex.split(last.partition("continues: ")[2])
    assert words[:3] == ["vitrine", "train", str(pictures)]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--name", "My Model"), "'My Model' is not accepted"),
        (("--route", "faces"), "'faces' is not accepted"),
        (("--name", "cifar10-gap"), "name of a recipe"),
        (("--model", "lite0"), "timm has no network 'lite0'"),
        (("--weights", "missing.safetensors"), "cannot be read"),
        (("--budget", "soon"), "90s, 10m or 1h30m"),
    ],
)
def test_refusals_before_training(
    pictures: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    status, out, err = finish(tmp_path, *command(pictures, *more))
    assert status in {1, 2}
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert not list(tmp_path.glob("runs/*/plan.json"))


def test_a_failure_after_training_loses_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    words = command(pictures, "--budget", "2s")  # the head alone fits into it
    train = partial(run_in_process, group.main, "training")

    def fail(*_: object) -> None:
        raise FloatingPointError("the calibration crashed")

    def press_ctrl_c(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    said = f"`vitrine train publish {NAME}`"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.pictures.steps.publish", fail)
        done = train(*words)
    last = done.err.strip().splitlines()[-1]
    assert (done.status, said in last, "calibration crashed" in last) == (1, True, True), done.err
    monkeypatch.setattr("training.pictures.steps.Selection", None)  # nothing can be trained
    for step, exception in (("write_page", fail), ("collect", press_ctrl_c)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"training.pictures.steps.{step}", exception)
            done = train("publish", NAME)
        assert (done.status, said in done.err) == (1 if exception is fail else 130, True), done.err
    added = pictures / CLASSES[0] / "added.png"
    draw(1, np.random.default_rng(5)).save(added)
    try:
        changed = train("publish", NAME)
        assert f"changed since {NAME} was trained" in changed.err
    finally:
        added.unlink()
    done = train("publish", NAME)
    assert done.status == 0, done.err
    assert "test pictures: " in done.out
    manifest = Artifact.open(NAME).manifest
    assert manifest.run is not None
    assert manifest.run.command.startswith(f"vitrine train {pictures} --name {NAME}")
    assert (tmp_path / "runs" / NAME / "report" / "index.html").is_file()
    again = train("publish", NAME)
    assert (again.status, f"{NAME} is published already" in again.err) == (1, True)
