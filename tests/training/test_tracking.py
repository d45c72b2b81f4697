"""Trackers are told of a run, and nothing is done or sent without them."""

import importlib.util
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@needs("tensorboard")
def test_a_tracker_that_cannot_begin_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the server\ndoes not answer")

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", refuse)
    refused = train(tmp_path, "--log-with", "tensorboard")
    assert refused.status == 1
    assert "error: mine-smoke: a tracker could not begin (the server does not" in refused.err
    assert not (tmp_path / "models").exists()


@needs("mlflow")
def test_mlflow_keeps_a_local_database(tmp_path: Path) -> None:
    from mlflow import MlflowClient  # noqa: PLC0415

    assert train(tmp_path, "--log-with", "mlflow").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "models", "runs"]
    client = MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.sqlite3")
    (experiment,) = client.search_experiments(filter_string="name = 'vitrine'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine-smoke", "FINISHED")
    assert run.data.params["data.name"] == "synthetic/digits"
    history = read_history(Artifact.open("mine-smoke", tmp_path / "models"))
    logged = client.get_metric_history(run.info.run_id, "validation_loss")
    assert [(each.step, each.value) for each in logged] == [
        (int(row["epoch"]), pytest.approx(float(row["validation_loss"]), abs=1e-6))
        for row in history
    ]
    pictures = client.list_artifacts(run.info.run_id)
    assert [each.path for each in pictures] == ["confusion.png", "samples.png"]


@needs("wandb")
def test_wandb_stays_offline(tmp_path: Path) -> None:
    assert train(tmp_path, "--log-with", "wandb").status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "models", "runs"]
    (run,) = (tmp_path / "logs" / "wandb").glob("offline-run-*")
    pictures = sorted(path.name.partition("_")[0] for path in run.rglob("*.png"))
    assert pictures == ["confusion", "samples"]
    (log,) = run.glob("*.wandb")
    records = list(wandb_records(log.read_bytes()))
    (config,) = (each.config.update for each in records if each.HasField("config"))
    settings = {each.key: json.loads(each.value_json) for each in config}
    assert settings["data.name"] == "synthetic/digits"
    rows = [
        {"/".join(item.nested_key): json.loads(item.value_json) for item in each.history.item}
        for each in records
        if each.HasField("history")
    ]
    history = read_history(Artifact.open("mine-smoke", tmp_path / "models"))
    assert [row["validation_loss"] for row in rows if "validation_loss" in row] == [
        pytest.approx(float(row["validation_loss"]), abs=1e-6) for row in history
    ]


def wandb_records(log: bytes) -> Iterator[Any]:
    """Read a run's file: a header of 7 bytes, and records in blocks as LevelDB's logs have them."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    place, parts = 7, b""
    while place + 7 <= len(log):
        if (left := -place % 32_768) and left < 7:
            place += left  # padding at the end of a block
            continue
        _, length, kind = struct.unpack_from("<IHB", log, place)
        parts += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""
