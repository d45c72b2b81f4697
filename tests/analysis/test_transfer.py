import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from analysis.transfer import judge
from artifacts import Artifact
from serving.schemas import Inspection, Layer, Stamp
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact, tiny_model

DATA = ("--dataset", "synthetic/objects:test", "--limit", 20)
NAMES = ("--scratch", "a", "--frozen", "b", "--finetuned", "d")


def inspection(*zeros: float) -> Inspection:
    layers = tuple(
        Layer(name=f"relu{n}", operator="Relu", channels=1, zeros=z, channel_zeros=(z,), small=None)
        for n, z in enumerate(zeros, start=1)
    )
    stamp = Stamp(name="x", hash="0", synthetic=False)
    return Inspection(model=stamp, provider="CPU", pictures=1, epsilon=0.01, layers=layers)


FROZEN = inspection(*[0.5] * 16, 0.8, 0.9)
TUNED = inspection(*[0.5] * 16, 0.6, 0.7)
SCRATCH = inspection(*[0.6] * 14, *[0.3] * 4)


def test_what_the_study_reported_is_confirmed_where_it_holds() -> None:
    found = judge(SCRATCH, FROZEN, TUNED, whole=False)
    assert [each.verdict for each in found] == ["confirmed"] * 3
    assert "16 of 18 layers agree in every channel; relu17 is the first" in found[0].numbers
    assert "mean 0.8500 against 0.6500" in found[1].numbers
    assert "fewer than both in 4 of 4 layers" in found[2].numbers


def test_what_does_not_hold_is_refuted() -> None:
    found = judge(FROZEN, TUNED, inspection(*[0.4] * 16, 0.8, 0.9), whole=False)
    assert [each.verdict for each in found] == ["refuted"] * 3


def test_what_nothing_can_decide_is_not_testable() -> None:
    short = inspection(0.1, 0.2)
    assert judge(short, short, short, whole=True)[0].verdict == "not testable"
    found = judge(short, short, short, whole=False)
    assert [each.verdict for each in found] == ["not testable"] * 3


@pytest.fixture
def look(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Models a, of other weights, b, and d, which is b with another second convolution."""
    root = tmp_path / "models"
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    other = tiny_model()
    for tensor in other.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), "w2"))
    for name, model in (("a", tiny_model(seed=1)), ("b", tiny_model()), ("d", other)):
        save(root, name, model)
    return run


def save(root: Path, name: str, model: onnx.ModelProto) -> None:
    manifest = tiny_artifact(root, name).manifest
    Artifact.save(manifest, {"model.onnx": model.SerializeToString()}, root)


def test_three_models_are_compared_as_they_are_served(look: Run) -> None:
    outcome = look("transfer", *NAMES, *DATA, "--out", "out")
    assert outcome.status == 0, outcome.err
    about = json.loads(Path("out/transfer.json").read_text())
    first, second, third = about["settings"]["findings"]
    assert first["verdict"] == "confirmed"
    assert "1 of 2 layers agree in every channel; relu_2 is the first" in first["numbers"]
    with Path("out/transfer.csv").open(newline="") as file:
        zeros = {(row["model"], row["depth"]): float(row["zeros"]) for row in csv.DictReader(file)}
    assert zeros["b", "1"] == zeros["d", "1"] != zeros["a", "1"]
    more = zeros["b", "2"] > zeros["d", "2"]
    assert second["verdict"] == ("confirmed" if more else "refuted")
    assert f"{np.float64(zeros['b', '2']):.4f}" in second["numbers"]
    assert third["verdict"] == "not testable"  # of two layers, none is the fifteenth
    assert len(about["findings"]) == 3


def test_other_architectures_are_refused(look: Run, tmp_path: Path) -> None:
    model = tiny_model()
    for node in model.graph.node:
        if node.name == "relu_2":
            node.op_type = "Tanh"
    save(tmp_path / "models", "d", model)
    outcome = look("transfer", *NAMES, *DATA)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "not of one architecture" in outcome.err
