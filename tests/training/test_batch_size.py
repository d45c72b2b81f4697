"""Batch size `auto`, with a memory that is simulated."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from training import batch_size, loop
from training.batch_size import find_batch_size, largest, with_batch_size
from training.data import load_splits
from training.inputs import Pictures
from training.loop import fit
from training.recipe import RecipeError, load_recipe
from training.run import initial_network

AUTO = {"batch_size": "auto", "epochs": 1}
NAME = "mnist-relu-cross-entropy-sgd"


@pytest.mark.parametrize(("room", "expected"), [(5000, 1024), (1023, 512), (100, 64), (1, 1)])
def test_the_largest_that_fits_is_found(room: int, expected: int) -> None:
    tried = []

    def step(size: int) -> None:
        tried.append(size)
        if size > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    assert largest(step, 1024, "x") == expected
    assert tried == [1024 >> n for n in range(len(tried))]


def test_if_nothing_fits_it_is_said() -> None:
    def step(_: int) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(RecipeError, match="does not suffice for a single picture"):
        largest(step, 8, "x")


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def step(_: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        largest(step, 8, "x")


@pytest.mark.parametrize(("name", "factor"), [("sgd", 4.0), ("adam", 2.0), ("adamw", 2.0)])
def test_the_rate_is_that_of_256_pictures(name: str, factor: float) -> None:
    recipe = load_recipe(NAME, changes={**AUTO, "optimizer.name": name, "optimizer.lr": 0.01})
    scaled = with_batch_size(recipe, 1024)
    assert scaled.batch_size == 1024
    assert scaled.optimizer.lr == pytest.approx(0.01 * factor)
    assert with_batch_size(recipe, 256).optimizer.lr == 0.01


def test_a_trial_leaves_the_network_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(NAME, "smoke", changes=AUTO)
    splits = load_splits(recipe.data, recipe.seed)
    network = initial_network(recipe, splits)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    source = Pictures(splits.train, recipe, torch.device("cpu"))
    seen = []

    class Card(Accelerator):
        device = property(lambda _: torch.device("meta"))  # type: ignore[assignment]

    real = batch_size._step

    def step(model: Any, source_: Any, changed: Any, _: Any) -> None:
        seen.append(changed.batch_size)
        if changed.batch_size > 20:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        real(model, source_, changed, Accelerator(cpu=True))

    monkeypatch.setattr(batch_size, "_step", step)
    monkeypatch.setattr(Card, "gather", lambda _, __: torch.tensor([seen[-1]]))
    most = len(splits.train) // 20
    assert find_batch_size(network, source, recipe, Card(cpu=True)) == seen[-1] <= 20
    assert seen[0] == most
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_a_run_keeps_the_size_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(NAME, "smoke", changes={**AUTO, "epochs": 2})
    splits = load_splits(recipe.data, recipe.seed)
    monkeypatch.setattr(loop, "find_batch_size", lambda *_: 32)
    fit(initial_network(recipe, splits), splits, recipe, tmp_path, Accelerator(cpu=True))
    assert "batches of 32 pictures, with a learning rate of " in capsys.readouterr().err
    monkeypatch.setattr(loop, "find_batch_size", None)
    _, history = fit(
        initial_network(recipe, splits), splits, recipe, tmp_path, Accelerator(cpu=True)
    )
    assert len(history) == 2
    assert "batches of 32 pictures" in capsys.readouterr().err


def test_on_a_cpu_nothing_is_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(NAME, "smoke", changes=AUTO)
    splits = load_splits(recipe.data, recipe.seed)
    fit(initial_network(recipe, splits), splits, recipe, tmp_path, Accelerator(cpu=True))
    expected = min(256, len(splits.train) // 20)
    assert f"batches of {expected} pictures" in capsys.readouterr().err


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(RecipeError, match="muon hold for one batch size only"):
        load_recipe("cifar10-fast", changes={"batch_size": "auto"})
    with pytest.raises(RecipeError, match="or auto"):
        load_recipe(NAME, changes={"batch_size": -1})


def test_auto_is_written_as_it_is_read() -> None:
    assert "batch_size: auto" in load_recipe(NAME, changes=AUTO).as_text()
