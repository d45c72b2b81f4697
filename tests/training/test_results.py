"""The page of all studies takes its figures from the comparisons and marks missing ones."""

import csv
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifacts import Artifact, VitrineError
from tests.figures import unlabelled
from training.__main__ import main
from training.comparison import read_comparison
from training.plots import png
from training.recipe import load_recipe, recipe_names
from training.results import COMMAND, PICTURE, STUDIES, points, results
from training.results_picture import draw, place_names


def test_every_system_of_every_study_has_a_line() -> None:
    page = results()
    missing = [name for name in recipe_names() if f"| {name} |" not in page]
    of_no_study = ["cifar10-fast", "cifar10-pretrained", "cifar10-scratch", "digits"]
    assert missing == of_no_study


def test_figures_are_those_of_the_comparison(tmp_path: Path) -> None:
    table = (STUDIES / "ladder" / "comparison.csv").read_text(encoding="utf-8")
    (tmp_path / "ladder").mkdir()
    (tmp_path / "ladder" / "comparison.csv").write_text(table, encoding="utf-8")
    page = results(tmp_path)
    line = next(line for line in page.splitlines() if line.startswith("| ladder-g |"))
    row = next(row for row in csv.DictReader(table.splitlines()) if row["system"] == "ladder-g")
    test, difference = float(row["test"]), float(row["difference"])
    assert f"| 0.8300 | {test:.4f} (test) | {difference:+.4f} |" in line
    assert "| precision bf16 instead of no |" in line


def test_verification_is_copied_as_it_was_measured(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "verification.md").write_text("# Faces\n\n| faces-x | 0.1 |\n")
    page = results(tmp_path)
    assert "## faces\n\n| faces-x | 0.1 |\n" in page
    assert "| faces-triplet |  | not run |" in page  # verification.md does not mention it


def test_a_study_that_did_not_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path))
    page = results(tmp_path)
    assert page.count("Not run yet.") == page.count("\n## ")
    assert "| cars-frozen | 0.3575 | not run |" in page
    assert "rebuilt" in page
    assert "(test)" not in page


def test_a_row_that_was_not_run_has_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path))  # nothing was run
    rows = [line for line in results(tmp_path).splitlines() if "| not run |" in line]
    assert len(rows) > 40
    for row in rows:
        name = row.split(" | ")[0].removeprefix("| ")
        taken = load_recipe(name).network.options.get("weights") == "imagenet"
        assert f"`vitrine train run {name}{' --weights FILE' if taken else ''}`" in row


def test_an_artifact_without_a_comparison_has_its_figure(tmp_path: Path) -> None:
    page = results(tmp_path)
    ours = Artifact.open("ladder-g").manifest.metric("accuracy", "test")
    assert f"| ladder-g | 0.8300 | {ours:.4f} (test) |" in page


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    out = tmp_path / "RESULTS.md"
    done = CliRunner().invoke(main, ["results", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_text(encoding="utf-8") == results()
    assert (tmp_path / PICTURE).read_bytes() == png(draw(points(), COMMAND))
    assert f"]({PICTURE.as_posix()})" in results()


def test_the_picture_has_a_point_for_each_system_with_both_figures() -> None:
    compared = [line.split(" | ") for line in results().splitlines() if line.startswith("| ")]
    rows = {cells[0].removeprefix("| "): cells for cells in compared if "(" in cells[2]}
    both = {name for name, cells in rows.items() if cells[1] and not cells[1].isspace()}
    found = points()
    assert {point.system for point in found} == both - {n for n in both if n.startswith("faces")}
    for point in found:
        assert f"{point.reported:.4f}" == rows[point.system][1]
        assert rows[point.system][2].startswith(f"{point.rebuilt:.4f} (")
    assert unlabelled(draw(found, COMMAND)) == []
    assert len({(x, y, side) for x, y, side in place_names(found)}) == len(found)


def test_a_study_can_be_compared_without_training(tmp_path: Path) -> None:
    asked = ["study", "cars", "--profile", "cpu", "--no-train", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, asked).exit_code == 0
    text = (tmp_path / "comparison.md").read_text()
    assert "Not run: cars-random; not trained." in text
    systems = [row["system"] for row in csv.DictReader((tmp_path / "comparison.csv").open())]
    assert systems == ["cars-lite0-finetuned"]


def test_systems_that_are_not_here_keep_their_rows(tmp_path: Path) -> None:
    asked = ["study", "cars", "--no-train", "--out", str(tmp_path)]
    shutil.copy(STUDIES / "cars" / "comparison.csv", tmp_path)
    before = read_comparison(tmp_path)
    assert CliRunner().invoke(main, [*asked, "--profile", "cpu"]).exit_code == 0
    after = {row.system: row for row in read_comparison(tmp_path)}
    ours = after["cars-lite0-finetuned"]
    assert ours.test == Artifact.open(ours.system).manifest.metric("accuracy", "test")
    assert {**after, ours.system: None} == {**{r.system: r for r in before}, ours.system: None}
    text = (tmp_path / "comparison.md").read_text()
    assert "- Kept from an earlier comparison: cars-random." in text
    assert "cars-lite0-finetuned." not in text
    assert CliRunner().invoke(main, [*asked, "--profile", "full"]).exit_code == 0
    assert len(read_comparison(tmp_path)) == 1  # the others were trained with another profile


def test_what_was_not_reported_is_compared_on_the_split_of_its_study() -> None:
    page = results().splitlines()
    line = next(line for line in page if line.startswith("| blocks-channel-attention |"))
    assert "(validation)" in line
    line = next(line for line in page if line.startswith("| mnist-relu-nll-sgd |"))
    assert "(test)" in line


def test_nothing_to_compare_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path))
    asked = ["study", "mnist", "--profile", "cpu", "--no-train", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, asked)
    assert isinstance(result.exception, VitrineError)
    assert not (tmp_path / "out").exists()
