"""What a server, the clients and the command line answer for a multi-label model."""

import csv
import io
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from artifacts import Artifact, Runtime
from artifacts.datasets import load
from serving.__main__ import main
from serving.client import Client, LocalPredictor
from serving.inspection.recent_answers import MAX_WAIT_SECONDS
from tests.commands import run_in_process
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.client.conftest import opened
from training.drift_reference import add_reference

CLASSES = ("cat", "dog", "bird", "fish")
THRESHOLDS = (0.0, 1.0, 0.5, 0.25)
"""The first class is always present, the second one hardly ever."""
PICTURES = [encoded(photograph(30 + 5 * i, 20, i)) for i in range(3)]


SEEN = load("synthetic/objects", "test").images[:200]
"""Pictures of the drift reference."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    fields: dict[str, Any] = {"task": "multi-label", "classes": CLASSES, "thresholds": THRESHOLDS}
    scenes = tiny_artifact(root, "scenes", route="scenes", **fields)
    add_reference(scenes, SEEN, "objects")
    tiny_artifact(root, "one", route="colours")
    return root


@pytest.fixture(scope="module")
def url(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(root, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def expected(root: Path) -> np.ndarray:
    """The sigmoids of the graph's logits at temperature 2, for `PICTURES`: N x C."""
    artifact = Artifact.open("scenes", root)
    pixels = [np.asarray(Image.open(io.BytesIO(content))) for content in PICTURES]
    logits = Runtime.open(artifact).run(pixels, ["logits"])["logits"].astype(np.float64)
    shares: np.ndarray = 1 / (1 + np.exp(-logits / 2.0))
    return shares


def entries(shares: np.ndarray, top: int) -> list[dict[str, Any]]:
    """The answer about a picture: the `top` most probable classes, and others that are present."""
    order = sorted(range(len(CLASSES)), key=lambda c: -shares[c])
    return [
        {
            "class": CLASSES[c],
            "probability": pytest.approx(shares[c], abs=1e-6),
            "threshold": THRESHOLDS[c],
            "present": bool(shares[c] >= THRESHOLDS[c]),
        }
        for rank, c in enumerate(order)
        if rank < top or shares[c] >= THRESHOLDS[c]
    ]


@pytest.mark.parametrize("address", ["/v1/models/scenes/classify", "/v1/scenes/classify"])
@pytest.mark.parametrize("top", [None, 1, 2, 9])
def test_the_answer_has_the_top_classes_and_those_present(
    url: str, expected: np.ndarray, address: str, top: int | None
) -> None:
    files = [("image", ("picture", content)) for content in PICTURES]
    query = "" if top is None else f"?top={top}"
    answer = httpx.post(f"{url}{address}{query}", files=files).raise_for_status().json()
    assert answer["task"] == "multi-label"
    found = [picture["top"] for picture in answer["pictures"]]
    assert found == [entries(row, top or 5) for row in expected]
    if top == 1:  # others are named although they are not asked for
        assert any(len(each) > 1 for each in found)
    assert any(not entry["present"] for each in found for entry in each) or top == 1


def test_the_answer_of_a_model_of_one_class_per_picture_keeps_its_shape(url: str) -> None:
    answer = httpx.post(f"{url}/v1/models/one/classify", content=PICTURES[0]).json()
    assert list(answer) == ["model", "provider", "pictures"]
    top = answer["pictures"][0]["top"]
    assert [list(entry) for entry in top] == [["class", "probability"]] * 3
    assert sum(entry["probability"] for entry in top) == pytest.approx(1)
    assert "thresholds" not in httpx.get(f"{url}/v1/models/one").json()


def test_the_list_says_what_the_model_answers(url: str) -> None:
    info = httpx.get(f"{url}/v1/models/scenes").json()
    assert info["task"] == "multi-label"
    assert info["classes"] == list(CLASSES)
    assert info["thresholds"] == list(THRESHOLDS)
    listed = httpx.get(f"{url}/v1/models").json()
    assert info in listed["models"]
    assert listed["defaults"] == {"colours": "one", "scenes": "scenes"}


def test_the_document_describes_the_fields(url: str) -> None:
    schemas = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]
    assert {"threshold", "present"} <= schemas["Prediction"]["properties"].keys()
    assert schemas["Prediction"]["required"] == ["class", "probability"]
    assert "task" not in schemas["Classification"]["required"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_clients_answer_what_the_model_in_this_process_answers(
    kind: str, url: str, root: Path
) -> None:
    local = LocalPredictor(root)
    with opened(kind, url) as client:
        for top in (1, 3):
            given = client.classify("scenes", PICTURES, top)
            assert given.task == "multi-label"
            assert given == client.classify_by_route("scenes", PICTURES, top)
            here = local.classify("scenes", PICTURES, top)
            assert [labels_of(p) for p in given.pictures] == [labels_of(p) for p in here.pictures]
        assert client.model_info("scenes").thresholds == local.model_info("scenes").thresholds
        # what looks inside depends on the graph only
        assert client.features("scenes", PICTURES).shape == (3, 16)
        assert client.inspect("scenes", PICTURES).pictures == 3
        assert client.feature_map("scenes", PICTURES[0], "relu_1").shape == (8, 20, 30)


def labels_of(picture: Any) -> list[tuple[str, float, bool]]:
    return [(p.label, round(p.probability, 5), p.present) for p in picture.top]


def test_drift_compares_the_largest_of_the_independent_probabilities(url: str, root: Path) -> None:
    with Client(url) as client:
        client.classify("scenes", list(SEEN))
        time.sleep(3 * MAX_WAIT_SECONDS)  # until the answers are added up
        drift = client.drift("scenes")
    assert drift.reference is not None
    assert drift.moments is not None
    logits = Runtime.open(Artifact.open("scenes", root)).run(list(SEEN), ["logits"])["logits"]
    largest = (1 / (1 + np.exp(-logits.astype(np.float64) / 2.0))).max(axis=1)
    places = np.searchsorted(drift.reference.edges, largest)
    counts = np.bincount(places, minlength=len(drift.moments.confidences))
    # the few pictures of the other tests may be counted, too
    difference = np.abs(np.array(drift.moments.confidences) - counts).sum()
    assert drift.answers >= len(SEEN)
    assert difference <= drift.answers - len(SEEN) + 4


@pytest.mark.parametrize("where", ["in process", "server"])
def test_the_command_names_the_classes_that_are_present(
    where: str,
    url: str,
    root: Path,
    expected: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, content in zip(files, PICTURES, strict=True):
        file.write_bytes(content)
    options = ["--url", url] if where == "server" else []
    ask = partial(run_in_process, main, "serving")
    done = ask("classify", *files, "--model", "scenes", "--top", "2", *options)
    assert done.status == 0, done.err
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [row["labels"] for row in rows] == [
        "|".join(entry["class"] for entry in entries(shares, 9) if entry["present"])
        for shares in expected
    ]
    for row, shares in zip(rows, expected, strict=True):
        ranked = [CLASSES[c] for c in np.argsort(-shares)]
        assert [row["class_1"], row["class_2"]] == ranked[:2]
        assert float(row["probability_1"]) == pytest.approx(shares.max(), abs=1e-5)
    done = ask("classify", files[0], "--model", "one", *options)
    assert "labels" not in next(csv.reader(done.out.splitlines()))
