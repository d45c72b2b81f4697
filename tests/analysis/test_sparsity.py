import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from artifacts import datasets
from tests.analysis.conftest import Run
from tests.graphs import dataset_record, tiny_artifact, tiny_model


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def layers_by_numpy(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    """Outputs of both ReLUs, N x C x H x W, by ONNX's own NumPy evaluator."""
    for name in ("r1", "r2"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return ReferenceEvaluator(model).run(["r1", "r2"], {"images": images})


def test_table_equals_a_count_by_numpy(run: Run) -> None:
    arguments = ("sparsity", "--model", "tiny", "--dataset", "synthetic/objects:test")
    outcome = run(*arguments, "--limit", 300, "--out", "out")
    assert outcome.status == 0, outcome.err
    images = np.asarray(datasets.load("synthetic/objects", "test").head(300).images)
    table = read(Path("out/sparsity.csv"))
    assert [row["layer"] for row in table] == ["relu_1", "relu_2"]
    for row, values in zip(table, layers_by_numpy(tiny_model(), images), strict=True):
        # the two evaluators round differently: a value in 10,000 may fall on the other side of 0
        assert float(row["zeros"]) == pytest.approx((values == 0).mean(), abs=1e-4)
        assert int(row["dead"]) == (values == 0).all(axis=(0, 2, 3)).sum()
        assert int(row["channels"]) == values.shape[1]
        assert int(row["pictures"]) == 300
    assert int(table[0]["dead"]) >= 1


def test_pictures_of_mixed_sizes_count_alike(run: Run) -> None:
    random = np.random.default_rng(0)
    sizes = [(20, 30), (64, 48), (17, 17)]
    Path("in").mkdir()
    expected = []
    for number, size in enumerate(sizes):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(f"in/{number}.png")
        layers = layers_by_numpy(tiny_model(), pixels[None])
        expected.append([(values == 0).mean() for values in layers])
    assert run("sparsity", "--model", "tiny", "--images", "in", "--out", "out").status == 0
    zeros = [float(row["zeros"]) for row in read(Path("out/sparsity.csv"))]
    assert zeros == pytest.approx(np.mean(expected, axis=0), abs=1e-3)


def test_several_models_stand_side_by_side(run: Run) -> None:
    outcome = run(
        *("sparsity", "--model", "tiny", "--model", "ten"),
        *("--dataset", "synthetic/digits:test", "--limit", 20),
    )
    folder = Path("reports/sparsity-tiny-ten")
    assert outcome.out.split() == [f"{folder}/sparsity.{kind}" for kind in ("png", "csv", "json")]
    table = read(folder / "sparsity.csv")
    assert [(row["model"], row["depth"]) for row in table] == [
        ("tiny", "1"),
        ("tiny", "2"),
        ("ten", "1"),
        ("ten", "2"),
    ]
    with Image.open(folder / "sparsity.png") as picture:
        assert picture.width > 800


def test_the_record_says_how_it_was_made(run: Run, models_root: Path) -> None:
    assert (
        run(
            *("sparsity", "--model", "tiny", "--dataset", "synthetic/digits", "--limit", 9),
            *("--out", "out"),
        ).status
        == 0
    )
    about = json.loads(Path("out/sparsity.json").read_text())
    manifest = json.loads((models_root / "tiny" / "manifest.json").read_text())
    assert about["models"] == [
        {
            "name": "tiny",
            "hash": manifest["files"]["model.onnx"],
            "provider": "CPUExecutionProvider",
            "synthetic": False,
        }
    ]
    assert about["data"]["source"] == "synthetic/digits:test"
    assert about["data"]["pictures"] == 9
    assert about["data"]["synthetic"]
    assert about["command"].startswith("python -m analysis sparsity --model tiny ")
    assert {row["synthetic"] for row in read(Path("out/sparsity.csv"))} == {"True"}


def test_a_synthetic_model_is_marked_on_real_pictures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = dataset_record("synthetic/objects", synthetic=True)
    tiny_artifact(tmp_path / "models", dataset=record)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    Path("in").mkdir()
    Image.new("RGB", (32, 32), "teal").save("in/a.png")
    outcome = run("sparsity", "--model", "tiny", "--images", "in", "--out", "out")
    assert outcome.status == 0, outcome.err
    assert {row["synthetic"] for row in read(Path("out/sparsity.csv"))} == {"True"}
    assert json.loads(Path("out/sparsity.json").read_text())["models"][0]["synthetic"]
