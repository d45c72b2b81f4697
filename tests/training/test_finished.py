"""No failure after training loses a run: one command publishes it, without training again."""

import re
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
from pydantic import TypeAdapter
from sklearn.svm import SVC

from artifacts import Artifact, DataError
from artifacts.artifact import MODEL_FILE
from tests.cards import CUDA, in_tf32, pretend_card
from tests.commands import Done, run_in_process
from training import export as exporting
from training.__main__ import main
from training.data import Splits, load_splits
from training.finished import Finished, Kept, PublishError
from training.history import Epoch
from training.networks import build
from training.recipe import PROFILES, Recipe, load_recipe, load_recipes
from training.run_state import FINISHED
from training.settings import Svm
from training.svm import KernelResult, SvmHead

NAME = "mine-smoke"
RECIPE = "mnist-relu-cross-entropy-sgd"
RUN = ("run", RECIPE, "--profile", "smoke", "--set", "epochs=2", "--name", "mine")
COMMAND = f"`vitrine train publish {NAME}`"
Train = Callable[..., Done]


def within(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """The commands, with `folder` as the working folder."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
    return partial(run_in_process, main, "training")


def fail(*_: object, **__: object) -> Any:
    raise FloatingPointError("the calibration crashed")


def press_ctrl_c(*_: object, **__: object) -> Any:
    signal.raise_signal(signal.SIGINT)


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    # not `initial_network`: modules that take it from `training.run` may be imported meanwhile
    for place in ("training.run.fit", "training.run.fit_svm"):
        monkeypatch.setattr(place, None)
    monkeypatch.setattr("training.loop._train", None)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run of two epochs whose calibration crashed, and what the command printed."""
    folder = tmp_path_factory.mktemp("crashed")
    with pytest.MonkeyPatch.context() as patch:
        train = within(folder, patch)
        patch.setattr("training.publish.fit_temperature", fail)
        return folder, train(*RUN)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        done = within(folder, patch)(*RUN)
    assert done.status == 0, done.err
    assert not (folder / "runs" / NAME).exists()
    return Artifact.open(NAME, folder / "models")


@pytest.fixture
def waiting(crashed: tuple[Path, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """The commands in a copy of the crashed run, where nothing can be trained."""
    shutil.copytree(crashed[0], tmp_path, dirs_exist_ok=True)
    no_training(monkeypatch)
    return within(tmp_path, monkeypatch)


def command_in(message: str) -> list[str]:
    """The command that the last line of a message names, without `vitrine train`."""
    found = re.search(r"`(vitrine train publish [^`]+)`", message.strip().splitlines()[-1])
    assert found, message
    return shlex.split(found[1])[2:]


def assert_same(made: Artifact, expected: Artifact) -> None:
    assert made.hash == expected.hash
    kept = {"metrics", "temperature", "known", "sets", "dataset", "recipe", "parameters", "input"}
    for name in kept:
        assert getattr(made.manifest, name) == getattr(expected.manifest, name), name
    ours, theirs = (each.manifest.run for each in (made, expected))
    assert ours is not None
    assert theirs is not None
    assert ours.model_copy(update={"seconds": theirs.seconds}) == theirs
    files = {"reference.json", "recipe.yaml", "known.npz"}
    assert {n: made.manifest.files[n] for n in files} == {
        n: expected.manifest.files[n] for n in files
    }


def test_a_crash_in_calibration_keeps_the_run(
    crashed: tuple[Path, Done],
    uninterrupted: Artifact,
    tmp_path: Path,
    waiting: Train,
) -> None:
    folder, done = crashed
    assert done.status == 1
    last = done.err.strip().splitlines()[-1]
    assert last.startswith(f"error: publishing {NAME} failed: FloatingPointError: the calibration")
    assert COMMAND in last
    assert "Traceback" in done.err, "what is not the project's own error has one"
    assert not (folder / "models").exists()
    assert {path.name for path in (folder / "runs" / NAME).iterdir()} >= {
        FINISHED,
        "checkpoint.pt",
    }
    published = waiting(*command_in(done.err))
    assert published.status == 0, published.err
    assert published.out.startswith(f"{NAME}: test accuracy")
    assert not (tmp_path / "runs" / NAME).exists()
    assert_same(Artifact.open(NAME), uninterrupted)


def changed_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter makes a graph that differs from the network by 1 %."""
    real = exporting.tidy

    def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
        weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return real(model)

    monkeypatch.setattr(exporting, "tidy", tidy)


FAILURES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "comparison": (changed_graph, "graph and network differ by"),
    "export": (lambda m: m.setattr("torch.onnx.export", fail), "FloatingPointError"),
    "half precision": (
        lambda m: m.setattr("training.publish.halve_if_accurate", fail),
        "FloatingPointError",
    ),
    "proof": (lambda m: m.setattr("training.publish.prove", fail), "FloatingPointError"),
    "measurement": (lambda m: m.setattr("training.publish.score", fail), "FloatingPointError"),
    "verdicts": (lambda m: m.setattr("training.publish.measure_known", fail), "FloatingPoint"),
    "writing": (lambda m: m.setattr("training.publish.Artifact.save", fail), "FloatingPoint"),
}


@pytest.mark.parametrize("step", FAILURES)
def test_each_step_can_fail_and_be_repeated(
    step: str, waiting: Train, tmp_path: Path, uninterrupted: Artifact
) -> None:
    breaks, said = FAILURES[step]
    with pytest.MonkeyPatch.context() as patch:
        breaks(patch)
        done = waiting("publish", NAME)
    assert done.status == 1
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert not (tmp_path / "models" / NAME).exists()
    assert (tmp_path / "runs" / NAME / FINISHED).exists()
    again = waiting(*command_in(done.err))
    assert again.status == 0, again.err
    assert Artifact.open(NAME).hash == uninterrupted.hash


def test_ctrl_c_while_publishing_says_the_command(waiting: Train, uninterrupted: Artifact) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.publish.fit_temperature", press_ctrl_c)
        done = waiting("publish", NAME)
    assert done.status == 130
    assert COMMAND in done.err
    assert "Traceback" not in done.err
    assert waiting("publish", NAME).status == 0
    assert_same(Artifact.open(NAME), uninterrupted)


def test_ctrl_c_in_the_run_that_trained_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = within(tmp_path, monkeypatch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.publish.fit_temperature", press_ctrl_c)
        done = train(*RUN)
    assert (done.status, COMMAND in done.err) == (130, True)
    no_training(monkeypatch)
    published = train("publish", NAME)
    assert published.status == 0, published.err
    run = Artifact.open(NAME).manifest.run
    assert run is not None
    assert run.epochs == 2


@pytest.mark.parametrize("agrees", [True, False])
def test_a_card_is_compared_by_its_answers_and_recorded(
    agrees: bool, waiting: Train, uninterrupted: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_card(monkeypatch, in_tf32 if agrees else negated)
    done = waiting("publish", NAME)
    assert done.status == 0, done.err
    artifact = Artifact.open(NAME)
    (record,) = artifact.manifest.providers
    assert (record.provider, record.agrees, record.measured) == (CUDA, agrees, agrees)
    assert record.sentence in done.err
    assert artifact.manifest.files[MODEL_FILE] == uninterrupted.manifest.files[MODEL_FILE]
    ours, theirs = (a.manifest.metric("accuracy", "test") for a in (artifact, uninterrupted))
    assert ours is not None
    assert ours == pytest.approx(theirs, abs=0.01)
    if not agrees:
        assert artifact.manifest.metrics == uninterrupted.manifest.metrics


def negated(graph: bytes) -> bytes:
    """A card whose logits are wrong: their signs are reversed."""
    model = onnx.load_from_string(graph)
    (node,) = (node for node in model.graph.node if "logits" in node.output)
    node.output[0] = "reversed"
    model.graph.node.append(onnx.helper.make_node("Neg", ["reversed"], ["logits"]))
    return model.SerializeToString()


def test_what_cannot_be_published_is_told_in_one_line(waiting: Train, tmp_path: Path) -> None:
    def refused(name: str) -> str:
        done = waiting("publish", name)
        assert (done.status, done.err.count("\n"), done.out) == (1, 1, ""), done.err
        return done.err

    assert f"did you mean {NAME}? use one of: {NAME}." in refused("mine-smok").replace("U", "u")
    for name in ("../mine-smoke", f"../runs/{NAME}", "", "/etc"):
        assert "no run" in refused(name)
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "checkpoint.pt").write_bytes(b"")
    assert "begun is not finished; the command that started it" in refused("begun")
    (tmp_path / "runs" / "shapes").mkdir()
    (tmp_path / "runs" / "shapes" / "plan.json").write_text('{"tested": null}')
    assert "shapes is not finished" in refused("shapes")
    kept = (tmp_path / "runs" / NAME / FINISHED).read_bytes()
    for damaged in (b"", kept[: len(kept) // 2], kept.replace(b"history", b"hystery")):
        (tmp_path / "runs" / NAME / FINISHED).write_bytes(damaged)
        assert "is damaged, or another version of Vitrine wrote it" in refused(NAME)
    (tmp_path / "runs" / NAME / FINISHED).write_bytes(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.finished.code_hash", lambda _: "other")
        assert "the code of the network mlp changed" in refused(NAME)
    assert waiting("publish", NAME).status == 0
    assert f"{NAME} is published already: {tmp_path / 'models' / NAME}" in refused(NAME)
    (tmp_path / "runs" / "begun" / "checkpoint.pt").unlink()
    assert f"nor any other in {tmp_path / 'runs'}" in refused("begun")


def test_a_run_that_another_process_works_on_is_refused(waiting: Train, tmp_path: Path) -> None:
    with FileLock(tmp_path / "runs" / NAME / "lock"):
        done = waiting("publish", NAME)
    assert (done.status, "by another process" in done.err) == (1, True)


def test_every_recipe_is_kept_as_it_is() -> None:
    adapter = TypeAdapter(Recipe)
    for profile in PROFILES:
        for recipe in load_recipes(profile):
            again = adapter.validate_python(asdict(recipe))
            assert again == recipe
            assert again.hash == recipe.hash


def fake_splits(classes: int, fingerprint: str = "f" * 64) -> Splits:
    source = SimpleNamespace(fingerprint=fingerprint, classes=tuple(map(str, range(classes))))
    return Splits(cast("Any", None), cast("Any", None), cast("Any", source))


ROW = Epoch(1, 0.1, 1.0, 0.5, 1.1, 0.4, 3.0, 1.0)


@pytest.mark.parametrize("name", ["cifar10-fast", "cifar10-gap", "faces-contrastive"])
def test_a_kept_network_is_the_same(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, "smoke")
    network = build(recipe.network, 10)
    Finished(recipe, network, [ROW], "no").save(tmp_path, fake_splits(10))
    before = torch.get_rng_state()
    kept = Kept.read(tmp_path)
    finished = kept.restore(fake_splits(10))
    assert (finished.recipe, list(finished.history)) == (recipe, [ROW])
    assert not finished.network.training
    expected, found = network.state_dict(), finished.network.state_dict()
    assert list(expected) == list(found)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert [w.requires_grad for w in finished.network.parameters()] == [
        w.requires_grad for w in network.parameters()
    ]
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(DataError, match="changed since"):
        kept.restore(fake_splits(10, "0" * 64))


def test_a_support_vector_machine_is_kept(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points, labels = random.normal(size=(60, 12)).astype(np.float32), np.arange(60) % 4
    machine = SVC(kernel="rbf").fit(points, labels)
    recipe = replace(load_recipe("cifar10-gap", "smoke"), svm=Svm(("rbf",)))
    network = build(recipe.network, 4)
    network.head = SvmHead(machine, points.mean(0), points.std(0))
    kernel = KernelResult("rbf", 1.0, 0.5, 40, 0.1)
    Finished(recipe, network, [], "bf16", [kernel], "a card").save(tmp_path, fake_splits(4))
    finished = Kept.read(tmp_path).restore(fake_splits(4))
    assert (list(finished.kernels), finished.hardware) == ([kernel], "a card")
    assert finished.precision == "bf16"
    shown = torch.from_numpy(points)
    assert torch.equal(finished.network.head(shown), network.head(shown))


def test_a_kept_file_runs_no_code_when_it_is_read(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"recipe": Harmful()}, tmp_path / FINISHED)
    with pytest.raises(PublishError, match="damaged"):
        Kept.read(tmp_path)
    assert not (tmp_path / "harmed").exists()


def test_data_that_changed_is_refused(waiting: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    real = load_splits

    def other(*arguments: Any) -> Splits:
        splits = real(*arguments)
        return replace(splits, source=replace(splits.source, fingerprint="0" * 64))

    monkeypatch.setattr("training.pending.load_splits", other)
    done = waiting("publish", NAME)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "changed since mine-smoke was trained" in done.err
