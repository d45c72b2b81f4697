"""Checkpoints within an epoch: continuing gives the same weights, and damage does no harm."""

import io
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console

from artifacts.progress import Progress
from training import loop
from training.checkpoint import Checkpoints, State
from training.data import load_splits
from training.history import Epoch
from training.loop import fit
from training.networks import Classifier
from training.optim import make_optimizer
from training.recipe import Recipe, load_recipe
from training.run import initial_network
from training.run_state import CHECKPOINT

# dropout, batch-norm, momentum and the augmentations all depend on what earlier batches drew
GAP: Mapping[str, Any] = {
    "epochs": 2,
    "data.validation": 400,
    "augment.flip": "random",
    "augment.translate": 2,
    "augment.jitter": 0.2,
    "optimizer.ema": 0.9,
    "optimizer.schedule": "cosine",
}
MUON: Mapping[str, Any] = {"epochs": 2, "data.validation": 400}


class StopError(Exception):
    """Ends a run as a crash would."""


def train(recipe: Recipe, folder: Path) -> tuple[dict[str, torch.Tensor], list[Epoch]]:
    splits = load_splits(recipe.data, recipe.seed)
    model, history = fit(
        initial_network(recipe, splits), splits, recipe, folder, Accelerator(cpu=True)
    )
    return model.state_dict(), history


def crash_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Let the loss of a later batch end the run."""
    count, objective = 0, loop.objective

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        if count > batches:
            raise StopError
        return objective(*arguments)

    monkeypatch.setattr(loop, "objective", counted)


@pytest.mark.parametrize(("name", "changes"), [("cifar10-gap", GAP), ("cifar10-scratch", MUON)])
def test_continuing_within_an_epoch_changes_nothing(
    name: str, changes: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(name, "smoke", changes=changes)
    folders = [tmp_path / "whole", tmp_path / "broken"]
    for folder in folders:
        folder.mkdir()
    weights, history = train(recipe, folders[0])
    monkeypatch.setenv("VITRINE_CHECKPOINT_SECONDS", "0.000001")  # after every batch
    batches = (len(load_splits(recipe.data, recipe.seed).train)) // recipe.batch_size
    for crash in (3, batches + 2):  # in the first epoch, then in what is left for the second
        with monkeypatch.context() as patch:
            crash_after(patch, crash)
            with pytest.raises(StopError):
                train(recipe, folders[1])
    computed = 0
    objective = loop.objective

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal computed
        computed += 1
        return objective(*arguments)

    monkeypatch.setattr(loop, "objective", counted)
    again, continued = train(recipe, folders[1])
    assert computed == 2 * batches - 3 - (batches + 2), "batches that are done are not computed"
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    for before, after in zip(history, continued, strict=True):
        for figure in ("train_loss", "train_accuracy", "validation_loss", "rate"):
            assert getattr(before, figure) == getattr(after, figure)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_is_done(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("cifar10-gap", "smoke", changes=GAP)
    count, objective = 0, loop.objective

    def signalled(*arguments: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), number)
        return objective(*arguments)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "objective", signalled)
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            train(recipe, tmp_path)
    assert count == 3, "the batch is finished, and no other is begun"
    assert signal.getsignal(number) is before
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert content["partway"]["batches"] == 3


def small() -> State:
    model = Classifier(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    recipe = load_recipe("cifar10-gap", "smoke")
    return State(model, make_optimizer(model, recipe.optimizer), None)


def test_no_damage_of_a_checkpoint_does_harm(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    small().save(path, "key")
    whole = path.read_bytes()
    assert small().load(path, "key")
    draw = random.Random(0)
    cut = [whole[:length] for length in (0, 1, 100, *range(0, len(whole), 97), len(whole) - 1)]
    flipped = []
    for _ in range(150):
        place = draw.randrange(len(whole))
        flipped.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    for damaged in (*cut, *flipped, b"not a checkpoint", b"PK\x03\x04" + bytes(500)):
        path.write_bytes(damaged)
        text, state = io.StringIO(), small()
        before = {key: value.clone() for key, value in state.model.state_dict().items()}
        loaded = state.load(path, "key", Progress("x", console=Console(file=text)))
        after = state.model.state_dict()
        if loaded:  # only the padding between the entries was changed
            reference = small()
            path.write_bytes(whole)
            assert reference.load(path, "key")
            before = reference.model.state_dict()
            assert text.getvalue() == ""
        else:
            assert text.getvalue().count("\n") == 1
            assert "is damaged and is ignored; training starts anew" in text.getvalue()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(small_load(path, damaged) for damaged in cut)


def small_load(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    return small().load(path, "key")


def test_a_damaged_checkpoint_does_not_stop_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe("mnist-relu-cross-entropy-sgd", "smoke", changes={"epochs": 1})
    train(recipe, tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    _, history = train(recipe, tmp_path)
    assert len(history) == 1
    assert f"{path} is damaged and is ignored" in capsys.readouterr().err


def test_several_processes_save_between_epochs_alone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / CHECKPOINT, "key", small(), within=False)
    checkpoints.interval = 0
    assert not checkpoints.due
    with checkpoints.deferring_signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    checkpoints.save()
    assert (tmp_path / CHECKPOINT).exists()


def test_a_log_says_at_once_how_far_training_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_recipe("cifar10-gap", "smoke", changes=GAP), tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("cifar10-gap-smoke: ")
    assert "epoch 1/2, loss " in lines[0]
    assert " left" in lines[0]
    assert len([line for line in lines if "validation loss" in line]) == 2
