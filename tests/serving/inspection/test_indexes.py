"""Neighbours in indexes of pictures, over HTTP and in process."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from serving.__main__ import main
from serving.client import AsyncClient, Client, LocalPredictor
from serving.indexes.manifest import indexes_of
from serving.indexes.stored import INDEX_FILE, StoredIndex
from serving.inspection.neighbours import MAX_TOP
from serving.problems import RequestError
from serving.schemas import Neighbours
from tests.commands import run_in_process
from tests.graphs import face_artifact, tiny_artifact, with_atlas
from tests.pictures import encoded, photograph
from tests.server import WORKERS, Server, start_server
from tests.serving.conftest import ATLAS_PICTURES
from tests.serving.http.test_app import form, refused

COUNT = 30
PATH = "/v1/models/tiny/neighbours"


def picture(seed: int) -> bytes:
    return encoded(photograph(20 + seed, 24, seed))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("indexed")
    tiny_artifact(root / "models", "tiny")
    with_atlas(tiny_artifact(root / "models", "mapped"), ATLAS_PICTURES)
    face_artifact(root / "models", verification={"metric": "cosine"})
    for i in range(COUNT):
        place = root / "album" / ("left" if i % 2 else "right")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(picture(i))
    return root


@pytest.fixture(scope="module")
def index(root: Path) -> Iterator[None]:
    """Indexes of all models, of the same pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_ARTIFACTS", str(root / "models"))
        for model in ("tiny", "mapped", "faces"):
            arguments = ("index", root / "album", "--model", model, "--labels")
            done = run_in_process(main, "serving", *arguments)
            assert done.status == 0, done.err
        yield


@pytest.fixture(scope="module")
def server(root: Path, index: None) -> Iterator[Server]:  # noqa: ARG001 - it has to exist before
    server = start_server(root / "models", root / "log.txt", VITRINE_WATCH="0")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=30) as client:
        yield client


def reload(http: httpx.Client) -> None:
    assert http.post("/v1/models:reload").status_code == 200


def test_every_client_finds_the_same_pictures(server: Server, root: Path) -> None:
    sent = [picture(5), encoded(photograph(97, 131, 77)), picture(8)]

    async def ask() -> Neighbours:
        async with AsyncClient(server.address) as client:
            return await client.neighbours("tiny", sent, top=4, index="album")

    with Client(server.address) as client:
        found = client.neighbours("tiny", sent, top=4)
    assert asyncio.run(ask()) == found
    assert found.index == "album"
    local = LocalPredictor(root / "models").neighbours("tiny", sent, top=4, index="album")
    stored = StoredIndex.open(indexes_of("tiny", root / "models") / "album")
    rows = LocalPredictor(root / "models").features("tiny", sent)
    cosines = rows @ stored.vectors.vectors().T / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.argsort(-cosines, axis=1)[:, :4]
    for one, other, numbers, line in zip(
        found.pictures, local.pictures, expected, cosines, strict=True
    ):
        assert one.place is None
        assert [n.rank for n in one.nearest] == [1, 2, 3, 4]
        assert [n.number for n in one.nearest] == numbers.tolist()
        assert [n.number for n in other.nearest] == numbers.tolist()
        paths = [n.path for n in one.nearest]
        assert paths == [stored.picture(number)[0] for number in numbers]
        assert all(n.path and n.path.startswith(f"{n.label}/") for n in one.nearest)
        similarities = [n.similarity for n in one.nearest]
        assert similarities == pytest.approx(line[numbers].tolist(), abs=1e-4)
        assert [n.distance for n in one.nearest] == [None] * 4
    assert [found.pictures[i].nearest[0].path for i in (0, 2)] == ["left/5.png", "right/8.png"]


def test_embedding_models_have_indexes_too(http: httpx.Client) -> None:
    answer = http.post("/v1/models/faces/neighbours?top=1", content=picture(3)).json()
    assert answer["pictures"][0]["nearest"][0]["path"] == "left/3.png"


def test_the_atlas_answers_unless_an_index_is_named(http: httpx.Client) -> None:
    path = "/v1/models/mapped/neighbours"
    answer = http.post(path, content=picture(3)).json()
    assert answer["index"] is None
    assert answer["pictures"][0]["nearest"][0]["label"].startswith("label ")
    answer = http.post(path, params={"index": "album"}, content=picture(3)).json()
    assert answer["index"] == "album"
    assert answer["pictures"][0]["nearest"][0]["path"] == "left/3.png"


def test_answers_reveal_no_path_of_the_machine(http: httpx.Client, root: Path) -> None:
    assert str(root) not in http.post(PATH, content=picture(3)).text


def test_what_is_refused(http: httpx.Client) -> None:
    good = {"content": picture(1)}
    detail = refused(http.post(f"{PATH}?index=nothing", **good), "no-index")
    assert "there are: album" in detail
    assert "vitrine index" in detail
    refused(http.post(f"{PATH}?top={MAX_TOP + 1}", **good), "bad-parameter")
    refused(http.post(f"{PATH}?top=0", **good), "bad-parameter")
    refused(http.post(PATH, content=b"junk"), "unsupported-format")
    response = http.post(PATH, files=form(picture(1), picture(2)[:-300]))
    refused(response, "damaged-picture")
    assert response.json()["picture"] == 1
    everything = http.post(f"{PATH}?top={MAX_TOP}", **good).json()
    assert len(everything["pictures"][0]["nearest"]) == COUNT


def test_all_workers_answer_alike(server: Server) -> None:
    answers = []
    for index in range(2):
        with server.only_worker(index):
            answers.append(httpx.post(f"{server.address}{PATH}", content=picture(4)).json())
    assert answers[0] == answers[1]


def test_workers_share_the_file(server: Server, root: Path) -> None:
    file = str(indexes_of("tiny", root / "models") / "album" / INDEX_FILE)
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert sum(any(m.path == file for m in p.memory_maps()) for p in family) == len(family)


def test_a_changed_model_needs_a_new_index(http: httpx.Client, root: Path, index: None) -> None:  # noqa: ARG001
    tiny_artifact(root / "models", "tiny", classes=("a", "b", "c", "d"))
    reload(http)
    detail = refused(http.post(PATH, content=picture(1)), "index-outdated")
    assert "run `vitrine index` again" in detail
    local = LocalPredictor(root / "models")
    with pytest.raises(RequestError, match="run `vitrine index` again"):
        local.neighbours("tiny", [picture(1)])
    assert run_in_process(main, "serving", "index", root / "album", "--model", "tiny").status == 0
    reload(http)
    nearest = http.post(PATH, content=picture(1)).json()["pictures"][0]["nearest"]
    assert (nearest[0]["path"], nearest[0]["label"]) == ("left/1.png", "")


def test_a_removed_picture_is_not_found_after_a_reload(
    http: httpx.Client,
    root: Path,
    index: None,  # noqa: ARG001
) -> None:
    def nearest() -> str:
        path: str = http.post(PATH, content=picture(7)).json()["pictures"][0]["nearest"][0]["path"]
        return path

    (root / "album" / "left" / "7.png").unlink()
    assert nearest() == "left/7.png"
    run_in_process(main, "serving", "index", root / "album", "--model", "tiny")
    assert nearest() == "left/7.png"
    reload(http)
    assert nearest() != "left/7.png"


def test_several_and_damaged_indexes(http: httpx.Client, root: Path, index: None) -> None:  # noqa: ARG001
    more = ("index", root / "album" / "left", "--model", "tiny", "--name", "second")
    assert run_in_process(main, "serving", *more).status == 0
    reload(http)
    detail = refused(http.post(PATH, content=picture(1)), "no-index")
    assert "album, second" in detail
    params = {"index": "second"}
    nearest = http.post(PATH, params=params, content=picture(1)).json()["pictures"][0]["nearest"]
    assert nearest[0]["path"] == "1.png"
    file = indexes_of("tiny", root / "models") / "second" / INDEX_FILE
    file.unlink()  # not changed in place, as it is mapped
    reload(http)
    assert http.post(PATH, params=params, content=picture(1)).status_code == 200  # still mapped
    manifest = file.parent / "index.json"
    manifest.write_text(manifest.read_text().replace("vitrine index", "something"))
    reload(http)
    detail = refused(http.post(PATH, params=params, content=picture(1)), "no-index")
    assert "cannot be read" in detail
    assert http.post(PATH, params={"index": "album"}, content=picture(1)).status_code == 200


def test_an_index_that_is_cut_off_in_place_is_given_up_soon(server: Server, root: Path) -> None:
    """Last, as it ends the workers that read the file: the kernel kills them (SIGBUS)."""
    file = indexes_of("tiny", root / "models") / "album" / INDEX_FILE
    content = file.read_bytes()
    os.truncate(file, 0)
    unaware = dict.fromkeys(child.pid for child in psutil.Process(server.process.pid).children())
    params = {"index": "album"}
    try:
        until = time.monotonic() + 60
        while any(map(psutil.pid_exists, unaware)):
            assert time.monotonic() < until, "a worker still serves what is gone"
            with suppress(httpx.TransportError):
                httpx.post(f"{server.address}{PATH}", params=params, content=picture(1))
        for _ in range(2 * WORKERS):
            with suppress(httpx.TransportError):  # the new worker may not listen yet
                answer = httpx.post(f"{server.address}{PATH}", params=params, content=picture(1))
                assert "has changed" in refused(answer, "no-index")
        classified = httpx.post(f"{server.address}/v1/models/tiny/classify", content=picture(1))
        assert classified.status_code == 200
    finally:
        file.write_bytes(content)
