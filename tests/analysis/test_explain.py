"""The deletion and insertion tests of explanations."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from analysis import explain
from analysis.explain import ORDERS, STEPS, TESTS, areas, compare, judge, rank, steps
from serving.client import LocalPredictor
from serving.schemas import Explanation, Rectangle
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact
from tests.pictures import photograph

DATA = ("--dataset", "synthetic/objects:test", "--limit", 6)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def framed(frame: tuple[float, float, float, float]) -> Explanation:
    left, top, right, bottom = frame
    rectangle = Rectangle(left=left, top=top, right=right, bottom=bottom)
    return Explanation.model_construct(frame=rectangle)


def test_pixels_are_taken_in_the_order_of_the_map() -> None:
    picture = np.zeros((2, 4, 3), np.uint8)
    grid = np.array([[1.0, 4, 2, 3], [5, 8, 6, 7]])
    order = rank(grid, framed((0, 0, 4, 2)), picture)
    assert order.tolist() == [5, 7, 6, 4, 1, 3, 2, 0]
    half = rank(grid[:, 2:], framed((2, 0, 4, 2)), picture)  # the left half was not seen
    assert half.tolist()[:4] == [7, 6, 3, 2]
    assert set(half.tolist()[4:]) == {0, 1, 4, 5}


def test_deletion_ends_with_the_mean_colour_and_insertion_with_the_picture() -> None:
    picture = np.asarray(photograph(20, 10))
    order = np.random.default_rng(0).permutation(200)
    deleted, inserted = (steps(picture, order, test) for test in TESTS)
    assert len(deleted) == len(inserted) == STEPS + 1
    np.testing.assert_array_equal(deleted[0], picture)
    assert (deleted[-1] == np.rint(picture.mean(axis=(0, 1)))).all()
    np.testing.assert_array_equal(inserted[-1], picture)
    changed = (deleted[5] != picture).any(axis=2).ravel()
    assert set(np.flatnonzero(changed)) <= set(order[:50])
    np.testing.assert_array_equal(
        inserted[5].reshape(-1, 3)[order[:50]], picture.reshape(-1, 3)[order[:50]]
    )
    assert (inserted[0] != picture).any()


def test_areas_are_those_under_the_curves() -> None:
    share = np.linspace(0, 1, STEPS + 1)
    curves = np.stack([np.ones_like(share), share, share**2])[None]
    np.testing.assert_allclose(areas(curves), [[1, 0.5, 1 / 3]], atol=1e-3)
    np.testing.assert_allclose(areas(curves), np.trapezoid(curves, share), atol=1e-12)


def test_maps_that_do_better_are_told_from_maps_that_do_not() -> None:
    random = np.random.default_rng(2)
    found = random.normal(0.5, 0.1, (200, 2, 3))
    nothing = compare(found, seed=0)
    assert [(d.test, d.order) for d in nothing] == [
        (test, order) for test in TESTS for order in list(ORDERS)[1:]
    ]
    assert "mean nothing" in judge("m", nothing)
    found[:, 0, 0] -= 0.2
    assert "in part only; they do not pass insertion against a random map" in judge(
        "m", compare(found, seed=0)
    )
    found[:, 1, 0] += 0.2
    good = compare(found, seed=0)
    assert "mean something:" in judge("m", good)
    first = found[:, 0, 0] - found[:, 0, 1]
    assert good[0].mean == pytest.approx(first.mean())
    error = 1.96 * first.std() / np.sqrt(200)
    assert good[0].high - good[0].low == pytest.approx(2 * error, rel=0.15)
    worse = compare(1 - found, seed=0)
    assert not any(d.better for d in worse)


def test_the_report_agrees_with_a_computation_by_hand(run: Run, models_root: Path) -> None:
    done = run("explain", "--model", "tiny", *DATA, "--out", "out")
    assert done.status == 0, done.err
    assert Path("out/explain.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads(Path("out/explain.json").read_text())
    assert about["settings"]["method"] == "class-activation-map"
    assert about["settings"]["seed"] == 0
    assert about["findings"][0] in done.out
    table = read(Path("out/areas.csv"))
    assert len(table) == 6 * len(TESTS) * len(ORDERS)
    pictures = explain.Pictures.from_dataset("synthetic/objects:test", 6)
    predictor, picture = LocalPredictor(models_root), pictures.pixels(2)
    answer = predictor.explain("tiny", picture)
    changed = steps(picture, rank(answer.grid, answer, picture), "deletion")
    found = predictor.classify("tiny", changed, top=3).pictures
    curve = [{g.label: g.probability for g in p.top}[answer.label] for p in found]
    row = next(
        r
        for r in table
        if (r["picture"], r["test"], r["order"]) == (pictures.names[2], "deletion", "map")
    )
    assert row["class"] == answer.label
    assert float(row["area"]) == pytest.approx(np.trapezoid(curve) / STEPS, abs=1e-5)
    whole = [r for r in read(Path("out/curves.csv")) if r["test"] == "deletion"]
    starts = {r["probability"] for r in whole if float(r["share"]) == 0}
    assert len({round(float(start), 5) for start in starts}) == 1


def test_answers_are_cached_and_bad_pictures_are_left_out(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(3):
        photograph(40, 30, seed).save(folder / f"{seed}.png")
    (folder / "bad.png").write_bytes(b"junk")
    arguments = ("explain", "--model", "tiny", "--images", folder, "--answers", "answers")
    first = run(*arguments, "--out", "one")
    assert first.status == 0, first.err
    assert "skipped bad.png" in first.err
    assert {row["picture"] for row in read(Path("one/areas.csv"))} == {"0.png", "1.png", "2.png"}
    assert run(*arguments, "--out", "two").status == 0
    assert read(Path("one/areas.csv")) == read(Path("two/areas.csv"))


def test_what_cannot_be_tested_is_one_line(run: Run) -> None:
    alone = run("explain", "--model", "tiny", "--dataset", "synthetic/objects:test", "--limit", 1)
    assert (alone.status, alone.err.count("\n")) == (1, 1)
    assert "at least two" in alone.err
    nobody = run("explain", "--model", "nobody", *DATA)
    assert (nobody.status, nobody.err.count("\n")) == (1, 1)


def test_a_multi_label_model_is_tested_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact(tmp_path / "m", "several", task="multi-label", thresholds=(0.5,) * 3)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "m"))
    done = run("explain", "--model", "several", *DATA, "--out", "out")
    assert done.status == 0, done.err
    assert len(read(Path("out/differences.csv"))) == 4
