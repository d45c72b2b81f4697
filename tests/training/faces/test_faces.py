"""A small network of faces on generated people: training, resuming, search and study."""

import csv
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from torch import Tensor

from artifacts import Artifact, DataError, Runtime
from artifacts.datasets import load
from tests.graphs import embedding_model
from training.data import load_splits
from training.faces.evaluate import measure_embedding
from training.faces.study import write_face_study
from training.faces.thresholds import measure_people
from training.loop import fit
from training.recipe import Recipe, RecipeError, load_recipe
from training.run import initial_network, make_accelerator, run
from training.search import plot, search, table

SMALL = {"network.options.model": "mobilenetv2_035"}


def recipe(variant: str, **changes: object) -> Recipe:
    return load_recipe(f"faces-{variant}", "smoke", changes={**SMALL, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VITRINE_ARTIFACTS", str(folder / "models"))
        yield folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Artifact:
    artifact = run(recipe("lite0-arcface", epochs=3))
    assert folder in artifact.path.parents  # type: ignore[union-attr]
    return artifact  # type: ignore[return-value]


def test_an_embedding_has_thresholds_and_rates_on_unseen_people(trained: Artifact) -> None:
    manifest = trained.manifest
    assert (manifest.task, manifest.default, manifest.synthetic) == ("embedding", False, True)
    assert Runtime.open(trained).output_names == ("embedding",)
    verification = manifest.verification
    assert verification is not None
    assert verification.pairs is not None
    assert verification.pairs.dataset == "synthetic/people:validation"
    assert [t.target_fmr for t in verification.thresholds] == [0.01]
    auc = manifest.metric("auc", "synthetic/people:test")
    eer = manifest.metric("eer", "synthetic/people:test")
    low = manifest.metric("eer/low", "synthetic/people:test")
    assert auc is not None
    assert eer is not None
    assert low is not None
    assert auc > 0.6, "chance is 0.5"
    assert low <= eer < 0.45
    assert "synthetic/people:test" in (trained.path / "card.md").read_text()


def test_people_with_one_embedding_get_no_threshold(caplog: pytest.LogCaptureFixture) -> None:
    settings = recipe("lite0-arcface")
    graph = embedding_model()
    (mixing,) = (each for each in graph.graph.initializer if each.name == "mixing")
    mixing.CopyFrom(numpy_helper.from_array(np.zeros(mixing.dims, np.float32), "mixing"))
    runtime = Runtime(graph.SerializeToString(), settings.policy)
    found = measure_embedding(settings, load_splits(settings.data, settings.seed), runtime)
    assert found["verification"].thresholds == ()
    assert "one threshold fewer: synthetic/people:validation" in caplog.text
    eer = {m.name: m.value for m in found["metrics"] if m.split == "synthetic/people:test"}["eer"]
    assert eer == 0.5


def test_measured_again_it_is_the_same(trained: Artifact) -> None:
    again = measure_people(trained, "synthetic/people:test", 10, 0, aligned=True)
    assert again.pairs.same == 20 * 45
    with pytest.raises(DataError, match="was trained on people"):
        measure_people(trained, "synthetic/people:train", 10, 0, aligned=True)
    assert set(load("synthetic/people", "test").classes).isdisjoint(
        load("synthetic/people", "train").classes
    )


def learned(settings: Recipe, folder: Path) -> tuple[dict[str, Tensor], list[tuple[float, float]]]:
    """Return the weights, and the losses of every epoch."""
    folder.mkdir(exist_ok=True)
    splits = load_splits(settings.data, settings.seed)
    network = initial_network(settings, splits)
    trained, history = fit(network, splits, settings, folder, make_accelerator(settings))
    return trained.state_dict(), [(row.train_loss, row.validation_loss) for row in history]


def test_interrupted_and_resumed_gives_the_same_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = recipe("lite0-triplet-semi-hard", epochs=3)
    weights, losses = learned(settings, folder / "once")
    checkpoint = folder / "twice" / "checkpoint.pt"

    def interrupt() -> None:
        while not checkpoint.exists():
            time.sleep(0.002)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    # a process in the background may have been started with this signal ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            learned(settings, folder / "twice")
    finally:
        signal.signal(signal.SIGINT, before)
    again, same = learned(settings, folder / "twice")
    assert "continuing after epoch" in capsys.readouterr().err
    assert same == losses
    assert all(again[key].equal(value) for key, value in weights.items())


def test_an_interrupted_search_continues(folder: Path) -> None:
    storage = f"sqlite:///{folder}/trials.sqlite3"
    first = search("faces-lite0-contrastive", "smoke", 1, storage)
    assert len(first) == 1
    both = search("faces-lite0-contrastive", "smoke", 2, storage)
    assert {each.number for each in both} == {0, 1}
    assert first[0] in both
    assert both[0].error <= both[1].error
    assert set(both[0].settings) == {*recipe("lite0-contrastive").search}
    assert search("faces-lite0-contrastive", "smoke", 2, storage) == both, "nothing left to do"
    rows = list(csv.DictReader(table(both).decode().splitlines()))
    assert [int(row["trial"]) for row in rows] == [each.number for each in both]
    assert plot(both, "title", "origin").startswith(b"\x89PNG")


def test_a_search_says_what_it_needs(folder: Path) -> None:
    assert folder.exists()
    with pytest.raises(RecipeError, match="no settings under `search`"):
        search("cifar10-gap", "smoke", 1)


def test_the_study_measures_every_system_on_unseen_people(folder: Path, trained: Artifact) -> None:
    assert trained.path.exists()
    systems = [recipe("lite0-arcface", epochs=3)]
    write_face_study(systems, "title", ["a line"], folder / "out")
    names = {path.name for path in (folder / "out").iterdir()}
    pictures = {"det.png", "distances.png", "neighbours-faces-lite0-arcface-smoke.png"}
    assert names == {"verification.md", "verification.csv", *pictures}
    (row,) = csv.DictReader((folder / "out" / "verification.csv").read_text().splitlines())
    eer = trained.manifest.metric("eer", "synthetic/people:test")
    assert float(row["eer"]) == pytest.approx(eer, abs=1e-6)
    assert float(row["fnmr@fmr=0.01/low"]) <= float(row["fnmr@fmr=0.01"])
    text = (folder / "out" / "verification.md").read_text()
    assert "- a line" in text
    assert text.count("| faces-lite0-arcface-smoke |") == 1
