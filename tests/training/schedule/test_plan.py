"""The plan says what is known, and invents nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from artifacts.provenance import hardware
from tests.commands import run_in_process
from training.__main__ import main
from training.data import load_splits
from training.faces.sampling import epoch_batches
from training.recipe import Recipe, load_recipe, load_recipes
from training.schedule import trial
from training.schedule.memory import training_memory
from training.schedule.plan import Contents, Item, fits_beside, groups, make_plan
from training.schedule.side_by_side import startable
from training.status import Status

MNIST = "mnist-relu-cross-entropy-sgd"
SMOKE = [MNIST, "--profile", "smoke"]
SMALL_EMBEDDER = {"network.options.model": "mobilenetv2_035", "network.options.stages": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def item(name: str, memory: int | None = 1, *, after: tuple[str, ...] = ()) -> Item:
    recipe = replace(load_recipe(MNIST, "smoke"), name=name)
    state = Status(current=False, reason="missing")
    return Item(recipe, state, Contents(900, 10, (28, 28)), 2.0, "measured", memory, after)


def names(items: list[Item]) -> list[str]:
    return [each.recipe.name for each in items]


@pytest.mark.usefixtures("folder")
def test_a_rate_is_unknown_until_it_is_measured_here() -> None:
    train = lambda *arguments: run_in_process(main, "training", *arguments)  # noqa: E731
    plan = lambda *more: json.loads(train("all", *SMOKE, "--plan", "--json", *more).out)  # noqa: E731
    (before,) = plan()["recipes"]
    assert (before["epoch_seconds"], before["basis"], before["seconds"]) == (None, "unknown", None)
    assert (before["current"], before["group"], before["pictures"]) == (False, 1, 800)
    assert train("run", *SMOKE).status == 0
    recipe = load_recipe(MNIST, "smoke")
    (after,) = plan()["recipes"]
    assert (after["current"], after["group"], after["seconds"]) == (True, None, 0)
    # an artifact that is out of date tells the rate if only the number of epochs has changed
    for changed, known in ({"epochs": 50}, True), ({"batch_size": 7}, False):
        (row,) = make_plan([replace(recipe, **changed)], hardware())
        assert (row.basis, row.epoch_seconds is not None) == (
            ("measured", True) if known else ("unknown", False)
        )
        assert not row.state.current
    (row,) = make_plan([replace(recipe, epochs=50)], hardware())
    assert row.epoch_seconds is not None
    assert row.seconds == pytest.approx(50 * row.epoch_seconds)
    (row,) = make_plan([replace(recipe, epochs=50)], "another machine")
    assert row.epoch_seconds is None


@pytest.mark.usefixtures("folder")
def test_a_trial_measures_what_is_unknown() -> None:
    done = run_in_process(main, "training", "all", *SMOKE, "--plan", "--measure", "--json")
    assert done.status == 0, done.err
    (row,) = json.loads(done.out)["recipes"]
    assert row["basis"] == "trial"
    assert row["epoch_seconds"] > 0
    assert row["seconds"] == pytest.approx(row["epochs"] * row["epoch_seconds"])


@pytest.mark.usefixtures("folder")
def test_the_table_says_unknown() -> None:
    done = run_in_process(main, "training", "all", *SMOKE, "--plan")
    assert done.status == 0, done.err
    assert "unknown" in done.out
    assert "the rate of 1 is unknown" in " ".join(done.out.split())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("wrong", [["--measure"], ["--json"], ["--jobs", "0"], ["no-recipe"]])
def test_mistakes_end_in_one_line(wrong: list[str]) -> None:
    done = run_in_process(main, "training", "all", *wrong)
    assert (done.status != 0, done.err.count("\n")) == (True, 1)


def test_missing_data_is_neither_downloaded_nor_guessed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_DATA", str(folder))
    monkeypatch.setattr("training.data.download", None)
    (row,) = make_plan([replace(load_recipe(MNIST), seed=7)], "x")
    assert (row.contents, row.memory, row.epoch_seconds) == (None, None, None)


@pytest.mark.usefixtures("folder")
def test_a_head_is_trained_before_what_starts_from_it() -> None:
    wanted = ("cars-lite0-finetuned", "cars-lite0-frozen")
    recipes = [r for r in load_recipes("smoke") if r.name.startswith(wanted)]
    finetuned, frozen = sorted(recipes, key=lambda r: r.name)
    plan = make_plan([finetuned, frozen], "x")
    assert names(plan) == [frozen.name, finetuned.name]
    assert plan[1].after == (frozen.name,)
    assert [len(group) for group in groups(plan, 8, None)] == [1, 1]


def test_what_starts_together_fits_the_memory() -> None:
    plan = [item("a", 4), item("b", 5), item("c", 6), item("d", None), item("e", 1)]
    assert [names(group) for group in groups(plan, 8, 10)] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert [names(group) for group in groups(plan, 2, None)] == [["a", "b"], ["c", "d"], ["e"]]
    assert fits_beside(item("x", 99), [], 1, 10), "alone, everything is tried"


def test_a_large_recipe_is_not_put_off_for_ever() -> None:
    large, small = item("large", 9), item("small", 1)
    assert startable([large, small], [item("a", 5)], 8, 10) == []
    assert startable([large, small], [], 8, 10) == [large, small]
    assert startable([small, large, item("b", 2)], [item("a", 5)], 8, 10) == [small, item("b", 2)]
    child = item("child", after=("large",))
    assert startable([child, small], [large], 8, 10) == [small]
    assert startable([child], [], 8, 10) == [child]


def test_memory_grows_with_the_batch_and_the_pictures() -> None:
    recipe = load_recipe("cifar10-gap")
    one = training_memory(recipe, 10, 1000, (32, 32))
    more = training_memory(replace(recipe, batch_size=2 * recipe.batch_size), 10, 1000, (32, 32))
    assert more > one
    assert training_memory(recipe, 10, 2000, (32, 32)) - one == 1000 * 32 * 32 * 3
    with pytest.raises(ValueError, match="automatic"):
        training_memory(replace(recipe, batch_size=0), 10, 1000, (32, 32))


def test_the_memory_of_a_small_network_is_as_computed_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "training.schedule.memory.build",
        lambda *_: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 5)),
    )
    changes = {"batch_size": 10, "precision": "no", "fixed_size": [4, 4]}
    recipe = load_recipe(MNIST, changes=changes)
    weights, inputs = 4 * (3 * 4 * 4 * 5 + 5), 4 * 3 * 4 * 4 * 10
    assert training_memory(recipe, 5, 7, (4, 4)) == round(
        1.5e9 + 1.5 * (4 * weights + inputs) + 3 * 7 * 4 * 4
    )


def test_an_epoch_follows_from_a_few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes a second each, and a validation picture that takes one, are added up."""
    recipe = load_recipe("cifar10-scratch", "smoke")
    splits = load_splits(recipe.data, recipe.seed)
    seen: list[Recipe] = []

    class Row:
        def __init__(self, train: float, validation: float) -> None:
            self.train_seconds, self.validation_seconds = train, validation

    def timed(_: object, some: object, tried: Recipe, *__: object) -> tuple[None, list[Row]]:
        seen.append(tried)
        steps = len(
            epoch_batches(some.train.labels, tried.batch_size, tried.loss, seed=0, epoch=0)  # type: ignore[attr-defined]
        )
        pictures = len(some.validation)  # type: ignore[attr-defined]
        # small pictures take a second for a step, others two; the first epochs take for ever
        return None, [Row(1e9, 1e9), Row(steps, pictures), Row(1e9, 1e9), Row(2 * steps, pictures)]

    monkeypatch.setattr(trial, "fit", timed)
    steps = len(splits.train) // recipe.batch_size
    expected = 0.6 * steps + 0.4 * 2 * steps + len(splits.validation)
    assert trial.epoch_seconds(recipe) == pytest.approx(expected)
    assert (seen[0].epochs, seen[0].augment.early) == (4, 0.5)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("faces-distilled", {**SMALL_EMBEDDER, "loss.morphs": 0}),
        (
            "cifar10-fast",
            {
                "loss.name": "distillation",
                "loss.teacher": "nobody",
                "loss.views": 2,
                "loss.label_smoothing": 0,
                "network.options": {"widths": [16, 32, 32]},
            },
        ),
    ],
)
def test_a_trial_of_a_student_asks_no_teacher(name: str, changes: dict[str, object]) -> None:
    found = trial.epoch_seconds(load_recipe(name, "smoke", changes=changes))
    assert found is not None
    assert found > 0


def test_mixtures_count_in_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Row:
        train_seconds, validation_seconds = 1.0, 0.0

    monkeypatch.setattr(trial, "fit", lambda *_: (None, [Row(), Row()]))
    changes = {**SMALL_EMBEDDER, "batch_size": 8}
    recipe = load_recipe("faces-distilled", "smoke", changes=changes)
    assert recipe.loss.morphs == 4
    pictures = len(load_splits(recipe.data, recipe.seed).train)
    expected = (1 + recipe.loss.morphs) * pictures / (trial.BATCHES * recipe.batch_size)
    assert trial.epoch_seconds(recipe) == pytest.approx(expected)


def test_a_trial_shares_no_cache_with_the_training() -> None:
    recipe = load_recipe("cars-lite0-frozen", "smoke")
    splits = load_splits(recipe.data, recipe.seed)
    some = trial.few(splits, recipe)
    assert some.source.pixels_key != splits.source.pixels_key
    assert len(some.train) <= trial.BATCHES * recipe.batch_size
