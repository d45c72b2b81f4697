"""Checkpoints: what continues a run, and what does not."""

from pathlib import Path

import torch
from torch import nn

from training.loop import State
from training.networks import Classifier


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
