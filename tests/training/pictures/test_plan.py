"""What a run on own pictures decides, and how it is kept."""

import json
from pathlib import Path

import click
import pytest

from artifacts import DataError
from training.pictures.plan import (
    MAX_EPOCHS,
    PLAN_FILE,
    Budget,
    Clock,
    Figures,
    Plan,
    Tried,
    better,
    choose_size,
    default_budget,
    fitting_epochs,
    load_plan,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("1m30s", 90)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert Budget().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0s", "10", "ten minutes", "-5m", "5m1h"])
def test_no_budgets(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90s, 10m or 1h30m"):
        Budget().convert(text, None, None)


def test_pictures_keep_their_median_aspect_ratio_and_about_the_area() -> None:
    assert choose_size([(50, 50)] * 3, 224) == (224, 224)
    assert choose_size([(300, 200), (150, 100), (1, 1)], 224) == (184, 272)
    assert choose_size([(200, 300)], 224) == (272, 184)
    assert choose_size([(1000, 10)], 224) == (160, 320)


def test_small_pictures_are_enlarged_less() -> None:
    assert choose_size([(28, 28)] * 3, None) == (128, 128)
    assert choose_size([(92, 92)] * 2 + [(9, 9)], None) == (184, 184)
    assert choose_size([(4000, 3000)], None) == (192, 256)


def test_epochs_fill_the_time_and_too_few_are_not_begun() -> None:
    assert fitting_epochs(50, 10) == 5
    assert fitting_epochs(49, 10) == 0
    assert fitting_epochs(-3, 10) == 0
    assert fitting_epochs(1e6, 10) == MAX_EPOCHS


def test_accuracy_decides_and_loss_where_it_cannot() -> None:
    worse, similar, good = (
        Tried(1, accuracy=a, loss=loss) for a, loss in ((0.7, 0.1), (0.84, 0.6), (0.85, 0.7))
    )
    assert better(good, worse, 100)
    assert not better(worse, good, 100)
    assert better(similar, good, 100)  # one picture of a hundred is chance
    assert better(good, similar, 100_000)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    tried = Tried(1, 2.5, 0.8, 0.7)
    plan = Plan("key", (160, 320), True, 0.01, {"head": tried}, True, "head", 3.5)
    plan.tested = Figures(8, 10, 0.75, "a.jpg")
    plan.save(tmp_path)
    assert load_plan(tmp_path, "key") == plan


def test_other_pictures_and_older_versions_start_anew(tmp_path: Path) -> None:
    Plan("key", spent=5).save(tmp_path)
    assert load_plan(tmp_path, "other") == Plan("other")
    content = json.loads((tmp_path / PLAN_FILE).read_text())
    (tmp_path / PLAN_FILE).write_text(json.dumps({**content, "version": 0}))
    assert load_plan(tmp_path, "key") == Plan("key")


@pytest.mark.parametrize("content", ["", "[]", '{"key": "key", "version": 1}'])
def test_a_damaged_plan_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / PLAN_FILE).write_text(content)
    with pytest.raises(DataError, match=r"plan\.json"):
        load_plan(tmp_path, "key")


def test_time_of_interrupted_runs_counts(tmp_path: Path) -> None:
    clock = Clock(Plan("key", spent=40), 60)
    assert 19 < clock.left <= 20
    clock.save(tmp_path)
    assert load_plan(tmp_path, "key").spent >= 40


@pytest.mark.parametrize(("pictures", "seconds"), [(20, 60), (300, 120), (3000, 600)])
def test_the_default_budget_grows_with_the_pictures(pictures: int, seconds: float) -> None:
    assert default_budget(pictures) == seconds
