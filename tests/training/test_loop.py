"""Checkpoints: which runs continue from one and which do not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from training import loop
from training.checkpoint import State
from training.data import Splits, load_splits
from training.loop import fit
from training.networks import Classifier
from training.recipe import load_recipe
from training.run import initial_network


def state() -> State:
    model = Classifier(nn.Flatten(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return State(model, optimizer, None, torch.amp.GradScaler("cpu"))


def test_the_scale_of_the_loss_is_continued(tmp_path: Path) -> None:
    before, after = state(), state()
    assert before.scaler is not None
    assert after.scaler is not None
    before.scaler.load_state_dict({**before.scaler.state_dict(), "scale": 1024.0})
    before.save(tmp_path / "checkpoint.pt", "key")
    assert after.scaler.state_dict()["scale"] != 1024
    assert after.load(tmp_path / "checkpoint.pt", "key")
    assert after.scaler.state_dict() == before.scaler.state_dict()


def test_another_run_is_not_continued(tmp_path: Path) -> None:
    state().save(tmp_path / "checkpoint.pt", "key")
    assert not state().load(tmp_path / "checkpoint.pt", "another")
    assert not state().load(tmp_path / "missing.pt", "key")


def test_a_run_on_other_data_or_code_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("mnist-relu-cross-entropy-sgd", "smoke", changes={"epochs": 1})
    splits = load_splits(recipe.data, recipe.seed)
    other = replace(splits, source=replace(splits.source, fingerprint="0" * 64))

    def seconds(data: Splits = splits) -> float:
        network = initial_network(recipe, splits)
        _, history = fit(network, data, recipe, tmp_path, Accelerator(cpu=True))
        return history[0].train_seconds  # kept by a continued run, measured again by a new one

    first = seconds()
    assert seconds() == first
    changed = seconds(other)
    assert changed != first
    assert seconds(other) == changed
    monkeypatch.setattr(loop, "code_hash", lambda _: "changed")
    assert seconds(other) != changed


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_every_step_moves_the_weights(
    schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the first step of a warm-up nor the last one of the schedule has a rate of 0."""
    changes = {"epochs": 1, "optimizer.schedule": schedule, "optimizer.warmup": 0.2}
    recipe = load_recipe("mnist-relu-cross-entropy-sgd", "smoke", changes=changes)
    splits = load_splits(recipe.data, recipe.seed)
    rates: list[float] = []
    set_rate = loop.set_rate

    def recorded(optimizer: torch.optim.Optimizer, rate: float) -> None:
        rates.append(rate)
        set_rate(optimizer, rate)

    monkeypatch.setattr(loop, "set_rate", recorded)
    fit(initial_network(recipe, splits), splits, recipe, tmp_path, Accelerator(cpu=True))
    assert len(rates) > 5
    assert min(rates) > 0
    assert rates[-1] < rates[-2]
