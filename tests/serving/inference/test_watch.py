"""A running server notices new, replaced, broken and removed artifacts by itself."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from artifacts import Artifact, ArtifactError
from serving.inference.models import Models
from serving.inference.watch import FolderWatch
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import Server, start_server

PICTURE = encoded(photograph(40, 30))
PATIENCE = 60  # seconds; the server needs about three, but test machines are busy


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tiny_artifact(tmp_path / "models", "tiny", route="birds", default=True)
    server = start_server(tmp_path / "models", tmp_path / "log.txt")
    try:
        # answered once all workers have loaded; it is ready before, once the first one has
        assert httpx.post(f"{server.address}/v1/models:reload", timeout=60).status_code == 200
        yield server
    finally:
        server.stop()


def listed(server: Server) -> dict[str, str]:
    """Hashes of the models by name, from whichever worker answers."""
    models = httpx.get(f"{server.address}/v1/models", timeout=60).json()["models"]
    return {model["name"]: model["hash"] for model in models}


def everywhere(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds for ten connections, so with all workers."""
    deadline = time.monotonic() + PATIENCE
    while not all(condition() for _ in range(10)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_changes_are_noticed_while_no_request_fails(server: Server) -> None:
    root = server.log.parent / "models"
    stop = threading.Event()
    answers: list[tuple[int, str]] = []

    def go_on_asking() -> None:
        with httpx.Client(base_url=server.address, timeout=60) as client:
            while not stop.is_set():
                response = client.post("/v1/birds/classify", content=PICTURE)
                answers.append((response.status_code, response.text))

    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(go_on_asking) for _ in range(3)]
        try:
            tiny_artifact(root, "another", route="birds", classes=("left", "right"))
            everywhere(lambda: "another" in listed(server))

            # a new default: both manifests are rewritten, as by `vitrine models default`
            tiny_artifact(root, "tiny", route="birds")
            tiny_artifact(root, "another", route="birds", classes=("left", "right"), default=True)
            everywhere(lambda: _default(server) == "another")

            replaced = tiny_artifact(root, "another", route="birds", classes=("a", "b", "c", "d"))
            everywhere(lambda: listed(server)["another"] == replaced.hash)

            shutil.rmtree(root / "another")
            everywhere(lambda: "another" not in listed(server))
        finally:
            stop.set()
        for asked in asking:
            asked.result()
    assert {status for status, _ in answers} == {200}
    assert any('"another"' in text for _, text in answers)
    log = server.log.read_text()
    for sentence in ("another is new", "another was replaced", "another was removed"):
        assert f"model {sentence}" in log


def _default(server: Server) -> str:
    return str(httpx.get(f"{server.address}/v1/models", timeout=60).json()["defaults"]["birds"])


def test_a_broken_artifact_is_logged_once_and_the_old_model_answers(server: Server) -> None:
    root = server.log.parent / "models"
    before = listed(server)
    (root / "tiny" / "model.onnx").write_bytes(b"not a graph")
    shutil.copytree(root / "tiny", root / "new")

    def both_are_listed() -> bool:
        found = httpx.get(f"{server.address}/v1/models", timeout=60).json()
        return {each["name"] for each in found["unavailable"]} == {"new", "tiny"}

    everywhere(both_are_listed)
    for _ in range(4):
        answer = httpx.post(f"{server.address}/v1/birds/classify", content=PICTURE, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["hash"] == before["tiny"]
    assert httpx.get(f"{server.address}/v1/models/new").json()["code"] == "model-unavailable"
    time.sleep(3)
    log = server.log.read_text()
    assert log.count("model tiny COULD NOT BE LOADED") == 1
    assert log.count("model new COULD NOT BE LOADED") == 1

    repaired = tiny_artifact(root, "tiny", route="birds", classes=("left", "right"))
    everywhere(lambda: listed(server)["tiny"] == repaired.hash)


def test_a_folder_that_empties_leaves_the_models_answering(server: Server) -> None:
    root = server.log.parent / "models"
    before = listed(server)
    root.rename(root.parent / "elsewhere")  # as if it was no longer mounted
    _wait_for_log(server, "cannot be read")
    root.mkdir()
    _wait_for_log(server, "holds no artifact any more")
    time.sleep(2)
    assert listed(server) == before
    assert server.log.read_text().count("holds no artifact any more") == 1
    assert httpx.post(f"{server.address}/v1/models:reload", timeout=60).json()["models"] == []
    root.rmdir()
    (root.parent / "elsewhere").rename(root)  # the same files as were loaded at first
    everywhere(lambda: listed(server) == before)


def _wait_for_log(server: Server, part: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while part not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_watch_can_be_switched_off(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "models", "tiny")
    server = start_server(tmp_path / "models", tmp_path / "log.txt", VITRINE_WATCH="0")
    try:
        # answered when all workers have loaded the folder; one may still be starting
        assert httpx.post(f"{server.address}/v1/models:reload", timeout=60).status_code == 200
        tiny_artifact(tmp_path / "models", "another")
        time.sleep(5)
        assert set(listed(server)) == {"tiny"}
        assert httpx.post(f"{server.address}/v1/models:reload", timeout=60).status_code == 200
        assert set(listed(server)) == {"another", "tiny"}
    finally:
        server.stop()


def test_what_counts_as_a_change(tmp_path: Path) -> None:
    root = tmp_path / "models"
    tiny_artifact(root, "tiny")
    watch = FolderWatch(root, tmp_path / "memory")
    watch.remember(unless_known=False)

    def changed() -> list[bool]:
        return [watch.changed() for _ in range(3)]

    assert changed() == [False, False, False]
    (root / ".writing-x" / "half").mkdir(parents=True)
    (root / "notes.txt").write_text("a plain file")
    (root / "no-artifact").mkdir()
    assert changed() == [False, False, False]
    (root / "tiny" / "dangling").symlink_to("nowhere")
    assert changed() == [False, True, True]  # the first check may have seen half of it
    watch.remember(unless_known=True)
    assert watch.changed()
    watch.remember(unless_known=False)
    assert not watch.changed()

    kept = (root / "tiny" / "manifest.json").stat()  # replaced by one of the same size and time
    shutil.copy2(root / "tiny" / "manifest.json", tmp_path / "copy")
    (tmp_path / "copy").replace(root / "tiny" / "manifest.json")
    os.utime(root / "tiny" / "manifest.json", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert changed() == [False, True, True]


def test_a_broken_artifact_is_listed_beside_the_model_that_answers(tmp_path: Path) -> None:
    tiny_artifact(tmp_path, "tiny", route="birds")
    before = Models.load(tmp_path)
    (tmp_path / "tiny" / "model.onnx").write_bytes(b"not a graph")
    after = Models.load(tmp_path, keep=before)
    assert after.get("tiny") is before.get("tiny")
    assert after.choose("birds", None) is before.get("tiny")
    assert "The model that was loaded before answers." in after.unavailable["tiny"]
    assert "tiny" not in Models.load(tmp_path).served


def test_what_could_not_be_loaded_for_a_passing_reason_is_loaded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact(tmp_path, "whole")
    tiny_artifact(tmp_path, "unlucky", route="cifar10")
    tiny_artifact(tmp_path, "broken")
    (tmp_path / "broken" / "model.onnx").write_bytes(b"not a graph")
    open_artifact = Artifact.open

    def fail(name: str, root: Path | None = None) -> Artifact:
        if name == "unlucky":
            raise ArtifactError("Cannot allocate memory")
        return open_artifact(name, root)

    monkeypatch.setattr(Artifact, "open", fail)
    models = Models.load(tmp_path)
    assert list(models.served) == ["whole"]
    assert models.try_again(tmp_path) is models
    monkeypatch.undo()
    now = models.try_again(tmp_path)
    assert list(now.served) == ["unlucky", "whole"]
    assert now.served["whole"] is models.served["whole"]
    assert list(now.unavailable) == ["broken"]
    assert "cifar10" in now.routes
    assert now.try_again(tmp_path) is now
