"""Several seeds of a system: which names they get, and what is said about them."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifacts import Artifact
from training.__main__ import main
from training.recipe import load_recipe
from training.seeds import first_above_chance, with_seeds

SYSTEM = "mnist-relu-cross-entropy-sgd"


def test_each_seed_is_a_model_of_its_own() -> None:
    recipe = load_recipe("ladder-a", "cpu")
    group = with_seeds([recipe], 3)["ladder-a"]
    assert [r.artifact_name for r in group] == ["ladder-a", "ladder-a-seed-1", "ladder-a-seed-2"]
    assert [r.seed for r in group] == [0, 1, 2]
    assert group[0] == recipe
    assert "--set seed=2 --name ladder-a-seed-2" in group[2].command


def test_learning_means_more_than_chance() -> None:
    # with 10 classes and 8,000 pictures, a standard error is 0.0034
    assert first_above_chance([0.1, 0.11, 0.111, 0.2], 10, 8000) == 3
    assert first_above_chance([0.1, 0.11, 0.0956], 10, 8000) is None
    assert first_above_chance([0.11, 0.19, 0.2], 10, 90) == 3


def test_a_study_of_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    asked = ["study", "mnist", "--profile", "smoke", "--seeds", "2", "--out", "out"]
    done = CliRunner().invoke(main, [*asked, "--only", SYSTEM])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "out" / "seeds.csv").open()))
    assert [(row["system"], row["seed"]) for row in rows] == [(SYSTEM, "0"), (SYSTEM, "1")]
    measured = [
        Artifact.open(name).manifest.metric("accuracy", "validation")
        for name in (f"{SYSTEM}-smoke", f"{SYSTEM}-seed-1-smoke")
    ]
    assert [float(row["validation"]) for row in rows] == measured
    text = (tmp_path / "out" / "seeds.md").read_text()
    low, high = sorted(f"{value:.4f}" for value in measured if value is not None)
    assert f"| {low} | {high} |" in text
    assert (tmp_path / "out" / "seeds.png").read_bytes().startswith(b"\x89PNG")


def test_only_classifiers_of_the_study_are_taken() -> None:
    for study, only in (("mnist", ["--only", "ladder-a"]), ("faces", [])):
        asked = ["study", study, "--profile", "smoke", "--seeds", "2", *only]
        done = CliRunner().invoke(main, asked)
        assert "--seeds compares the accuracy of classifiers" in str(done.exception)
