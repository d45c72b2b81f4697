import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from artifacts import Artifact
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact, tiny_model

ROOT = Path(__file__).parent.parent.parent
DATA = ("--dataset", "synthetic/objects:test", "--limit", 20)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two classes, and files that cannot be used."""
    random = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "in" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = random.integers(16, 64, 2)
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(path)
    whole = (tmp_path / "in" / "cat" / "00.png").read_bytes()
    (tmp_path / "in" / "cat" / "truncated.png").write_bytes(whole[:100])
    (tmp_path / "in" / "dog" / "text.jpg").write_text("no picture")
    (tmp_path / "in" / "dog" / "empty.jpg").touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "in" / "dog" / "small.png")
    Image.new("RGB", (5000, 20)).save(tmp_path / "in" / "dog" / "wide.png")
    return tmp_path / "in"


UNUSABLE = ["cat/truncated.png", "dog/empty.jpg", "dog/small.png", "dog/text.jpg", "dog/wide.png"]


def test_unusable_pictures_are_listed_and_counted(run: Run, folder: Path) -> None:
    outcome = run("map", "--model", "tiny", "--images", folder, "--perplexity", 7, "--out", "out")
    assert outcome.status == 0, outcome.err
    skipped = [line for line in outcome.err.splitlines() if line.startswith("skipped ")]
    assert sorted(line.split(":")[0] for line in skipped[:-1]) == [f"skipped {n}" for n in UNUSABLE]
    assert skipped[-1] == "skipped 5 of 29 pictures"
    table = read(Path("out/map.csv"))
    assert len(table) == 24
    assert all(row["picture"].startswith(row["label"] + "/") for row in table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sparsity", "--model", "nobody", *DATA), "nobody"),
        (("map", "--model", "nobody", *DATA), "nobody"),
        (("sparsity", "--model", "tiny"), "--images DIR or --dataset"),
        (("sparsity", "--model", "tiny", *DATA, "--images", "."), "--images DIR or --dataset"),
        (("sparsity", *DATA), "--model"),
        (("sparsity", "--model", "tiny", "--dataset", "imagenet"), "imagenet"),
        (("sparsity", "--model", "tiny", "--dataset", "cifar10:holiday"), "holiday"),
        (("sparsity", "--model", "tiny", "--images", "nowhere"), "nowhere"),
        (("sparsity", "--model", "tiny", "--images", "."), "no pictures found"),
        (("sparsity", "--model", "tiny", *DATA, "--limit", 0), "--limit"),
        (
            ("map", "--model", "tiny", *DATA, "--perplexity", 30),
            "20 pictures are too few for perplexity 30",
        ),
        (("map", "--model", "tiny", *DATA[:3], 3), "a map needs at least 4"),
        (("map", "--model", "tiny", *DATA, "--perplexity", 0), "--perplexity"),
        (("map", "--model", "headless", *DATA), "features"),
        (("map", "--model", "tiny", *DATA, "--url", "http://127.0.0.1:9"), "127.0.0.1:9"),
        (("sparsity", "--model", "tiny", *DATA, "--url", "nonsense"), "nonsense"),
    ],
)
def test_bad_input_gives_one_line(
    run: Run, models_root: Path, arguments: tuple[object, ...], message: str
) -> None:
    save_without_features(models_root)
    outcome = run(*arguments)
    assert outcome.status in (1, 2)
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not Path("reports").exists()


def test_files_that_are_passed_over_are_listed_and_counted(run: Run, folder: Path) -> None:
    Image.new("RGB", (32, 32)).save(folder / "cat" / "scan.tif")
    (folder / "notes.txt").write_text("from the attic")
    (folder / ".hidden").touch()
    outcome = run("sparsity", "--model", "tiny", "--images", folder, "--out", "out")
    assert outcome.status == 0, outcome.err
    said = [line for line in outcome.err.splitlines() if line.startswith("passed over ")]
    assert [line.split(":")[0] for line in said[:-1]] == [
        "passed over cat/scan.tif",
        "passed over notes.txt",
    ]
    assert said[-1].startswith(
        "passed over 2 files of in; names of pictures end in .bmp, .gif, .jpeg"
    )
    data = json.loads(Path("out/sparsity.json").read_text())["data"]
    assert data["passed_over"] == ["cat/scan.tif", "notes.txt"]
    assert data["pictures"] == 24


def test_a_folder_of_tiffs_alone_is_refused(run: Run) -> None:
    Path("in").mkdir()
    for name in ("a.tif", "b.tiff"):
        Image.new("RGB", (32, 32)).save(f"in/{name}")
    outcome = run("sparsity", "--model", "tiny", "--images", "in")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "no pictures found (there is a.tif, and 1 more)" in outcome.err


def test_a_folder_of_unusable_pictures_is_refused(run: Run) -> None:
    Path("in").mkdir()
    Path("in/text.jpg").write_text("no picture")
    outcome = run("sparsity", "--model", "tiny", "--images", "in")
    assert outcome.status == 1
    assert "none of the 1 pictures can be used" in outcome.err


def test_a_folder_that_cannot_be_written_is_refused(run: Run) -> None:
    Path("file").touch()
    outcome = run("sparsity", "--model", "tiny", *DATA, "--out", "file/below")
    assert outcome.status == 1
    assert "choose another --out" in outcome.err


@pytest.mark.parametrize("arguments", [(), ("sparsity",), ("map",)])
def test_help_names_what_can_be_given(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run(*arguments, "--help")
    assert outcome.status == 0
    assert "--model" in outcome.out
    assert "--url" in outcome.out


def test_runs_without_torch(tmp_path: Path, models_root: Path) -> None:
    """Importing torch, or the training room, ends the command with a failure."""
    for name in ("torch", "training"):
        (tmp_path / "banned" / name).mkdir(parents=True)
        (tmp_path / "banned" / name / "__init__.py").write_text("raise SystemExit('imported')")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "analysis", "map", "--model", "tiny", *map(str, DATA)),
            *("--perplexity", "5", "--out", tmp_path / "out"),
        ],
        env={
            **os.environ,
            "VITRINE_ARTIFACTS": str(models_root),
            "PYTHONPATH": f"{tmp_path / 'banned'}:{ROOT}",
            "PYTHONSAFEPATH": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "map.csv").exists()


def save_without_features(root: Path) -> Artifact:
    """The tiny model with no output but logits, called headless."""
    model = tiny_model()
    del model.graph.output[1:]
    onnx.checker.check_model(model)
    artifact = tiny_artifact(root, "headless")
    manifest = artifact.manifest
    return Artifact.save(manifest, {"model.onnx": model.SerializeToString()}, root)
