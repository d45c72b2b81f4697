"""A server tells when its pictures are no longer those that a model was validated on."""

import asyncio
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from artifacts import ArtifactError
from artifacts.datasets import load
from artifacts.drift_distances import MIN_ANSWERS
from serving.client import Client
from serving.client.in_process import LocalPredictor
from serving.inference.served_model import ServedModel
from serving.inspection.recent_answers import BLOCK_SIZE, BLOCKS, MAX_WAIT_SECONDS, RecentAnswers
from tests.graphs import tiny_artifact
from tests.server import WORKERS, running_server
from training.drift_reference import add_reference

TRAIN, TEST = (load("synthetic/objects", split).images for split in ("train", "test"))
DARK = np.asarray(TEST) // 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with a reference, one without, and one with that of another graph."""
    root = tmp_path_factory.mktemp("models")
    for name in ("watched", "other", "wrong"):
        add_reference(tiny_artifact(root, name), TRAIN, "objects")
    tiny_artifact(root, "unwatched")
    return root


@pytest.fixture(scope="module")
def url(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(root, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


def send(url: str, name: str, pictures: np.ndarray, what: str = "classify", each: int = 20) -> None:
    """Ask about pictures, over a new connection for each request: any worker may answer."""
    for start in range(0, len(pictures), each):
        files = []
        for picture in pictures[start : start + each]:
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "BMP")
            files.append(("image", ("picture", content.getvalue())))
        answer = httpx.post(f"{url}/v1/models/{name}/{what}", files=files, timeout=60)
        assert answer.status_code == 200, answer.text
    time.sleep(3 * MAX_WAIT_SECONDS)  # until the last of them are added up


def drift(url: str, name: str, query: str = "") -> dict:
    answer = httpx.get(f"{url}/v1/models/{name}/drift{query}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_test_split_does_not_drift_and_dark_pictures_do(url: str) -> None:
    send(url, "watched", TEST[:100])
    few = drift(url, "watched")
    assert (few["answers"], few["distances"]) == (100, [])
    assert few["missing"] == f"100 answers so far; {MIN_ANSWERS} are needed."
    send(url, "watched", TEST[100:200])
    send(url, "watched", TEST[200:], what="features")
    known = drift(url, "watched")
    assert known["answers"] == len(TEST)
    assert [d["quantity"] for d in known["distances"]] == ["sides", "confidences", "features"]
    assert not any(d["drifted"] for d in known["distances"])
    send(url, "watched", DARK)
    changed = {d["quantity"]: d for d in drift(url, "watched")["distances"]}
    assert changed["confidences"]["drifted"]
    assert changed["features"]["drifted"]
    assert not changed["sides"]["drifted"]
    metrics = httpx.get(f"{url}/metrics").text
    shown = re.findall(r'vitrine_drift\{model="watched",quantity="(\w+)"\} (\S+)', metrics)
    assert {quantity: float(value) for quantity, value in shown} == {
        quantity: pytest.approx(each["value"]) for quantity, each in changed.items()
    }
    assert "unwatched" not in re.findall(r"vitrine_drift\{.*", metrics)


def test_the_answers_of_all_workers_count_whichever_is_asked(url: str, root: Path) -> None:
    large = np.stack([np.asarray(Image.fromarray(p).resize((64, 64))) for p in TEST[:250]])
    send(url, "other", large, each=5)
    answers = [drift(url, "other") for _ in range(20)]
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["answers"], answers[0]["workers"]) == (250, WORKERS)
    sides = answers[0]["distances"][0]
    assert (sides["quantity"], sides["drifted"]) == ("sides", True)
    with Client(url) as client:
        told = client.drift("other")
    assert told.reference == LocalPredictor(root).drift("other").reference
    assert told.moments is not None
    assert told.moments.pictures == 250
    assert "moments" not in answers[0]


def test_a_model_without_reference_says_how_to_get_one(url: str) -> None:
    send(url, "unwatched", TEST[:10])
    answer = drift(url, "unwatched")
    assert (answer["answers"], answer["distances"]) == (0, [])
    assert "vitrine train reference" in answer["missing"]
    assert httpx.get(f"{url}/v1/models/nobody/drift").status_code == 404


def test_old_answers_are_forgotten_and_a_new_process_goes_on(root: Path, tmp_path: Path) -> None:
    model = ServedModel(LocalPredictor(root)._model("other").artifact)
    assert model.reference is not None
    outputs = model.runtime.run(list(TEST[:50]))
    recent = RecentAnswers(tmp_path, worker=1)

    async def add(worker: RecentAnswers, *sides: int) -> None:
        for side in sides:
            worker.add(model, [(side, side)] * 50, outputs)

    asyncio.run(add(recent, *[64] * 40, *[32] * 2 * BLOCKS))
    told = recent.read(model)
    assert told.moments is not None
    assert BLOCKS * BLOCK_SIZE - BLOCK_SIZE < told.answers <= BLOCKS * BLOCK_SIZE
    assert told.moments.sides[4] == told.answers  # of 32 px alone
    for worker in (1, 2):
        asyncio.run(add(RecentAnswers(tmp_path, worker), 32))
    later = recent.read(model)
    assert (later.workers, later.moments and later.moments.sides[4]) == (2, later.answers)
    assert later.answers > told.answers - BLOCK_SIZE


def test_answers_are_added_up_within_a_moment_and_those_that_are_no_numbers_left_out(
    root: Path, tmp_path: Path
) -> None:
    model = ServedModel(LocalPredictor(root)._model("other").artifact)
    outputs = model.runtime.run(list(TEST[:MIN_ANSWERS]))
    outputs["features"][5, 3] = np.nan
    recent = RecentAnswers(tmp_path, worker=1)
    few = {name: rows[:3] for name, rows in outputs.items()}

    async def ask() -> tuple[int, int, int]:
        recent.add(model, [(32, 32)] * len(TEST[:MIN_ANSWERS]), outputs)
        before = recent.read(model).answers
        recent.add(model, [(32, 32)] * 3, few)
        at_once = recent.read(model).answers
        await asyncio.sleep(3 * MAX_WAIT_SECONDS)
        return before, at_once, recent.read(model).answers

    assert asyncio.run(ask()) == (MIN_ANSWERS - 1, MIN_ANSWERS - 1, MIN_ANSWERS + 2)


def test_the_reference_of_another_graph_is_refused(root: Path, tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path, "wrong")
    fields = (root / "wrong" / "reference.json").read_text().replace('"mean":[', '"mean":[1.0,')
    reference = fields.replace('"variance":[', '"variance":[1.0,')
    files = {"model.onnx": artifact.model_path.read_bytes(), "reference.json": reference.encode()}
    wrong = artifact.save(artifact.manifest, files, tmp_path)
    with pytest.raises(ArtifactError, match="is of another graph: it has 17 features"):
        ServedModel(wrong)
