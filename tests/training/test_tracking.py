"""Trackers are told of a run, and nothing is done or sent without them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from artifacts import Artifact
from tests.commands import Done, run_in_process
from training.__main__ import main
from training.history import read_history

RUN = ("run", "mnist-relu-cross-entropy-sgd", "--profile", "smoke", "--name", "mine")
CHANGES = ("--set", "epochs=2", "--set", "data.name=synthetic/digits")


def train(folder: Path, *options: str) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        patch.setenv("WANDB_SILENT", "true")
        for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
            patch.delenv(variable, raising=False)
        return run_in_process(main, "training", *RUN, *CHANGES, *options)


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


@needs("tensorboard")
def test_tensorboard_has_the_history_pictures_and_the_confusion_matrix(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    done = train(tmp_path, "--log-with", "tensorboard")
    assert done.status == 0, done
    events = EventAccumulator(str(tmp_path / "logs" / "mine-smoke" / "vitrine"))
    events.Reload()
    history = read_history(Artifact.open("mine-smoke", tmp_path / "models"))
    for column in ("train_loss", "validation_accuracy", "rate"):
        logged = [(event.step, event.value) for event in events.Scalars(column)]
        expected = [(int(row["epoch"]), float(row[column])) for row in history]
        assert np.allclose(logged, expected, atol=1e-6)
    assert sorted(events.Tags()["images"]) == ["confusion", "samples"]
    assert events.Images("confusion")[0].width > 500
    assert not (tmp_path / "runs" / "mine-smoke").exists()


def test_without_trackers_no_logs_are_written(tmp_path: Path) -> None:
    assert train(tmp_path).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "runs"]


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    refused = train(tmp_path, "--log-with", "wandb")
    assert refused.status == 1
    assert refused.err.startswith("error: wandb is not installed; install it: pip install")
    assert not (tmp_path / "models").exists()


@needs("mlflow")
def test_mlflow_keeps_a_local_database(tmp_path: Path) -> None:
    assert train(tmp_path, "--log-with", "mlflow").status == 0
    assert (tmp_path / "logs" / "mlflow.sqlite3").exists()


@needs("wandb")
def test_wandb_stays_offline(tmp_path: Path) -> None:
    assert train(tmp_path, "--log-with", "wandb").status == 0
    assert list((tmp_path / "logs" / "wandb").glob("offline-run-*"))
