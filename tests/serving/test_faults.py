"""What fails around a running server: its disks and its database. Nothing acknowledged is lost."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from serving.client import Client
from serving.faces.gallery import Gallery
from serving.observability import metrics
from tests.databases import MISSING, PostgresqlServer, postgresql_programs
from tests.disks import fill, read_only, small_disk
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import WORKERS, start_server
from tests.serving.faces.test_gallery import MODEL, enrol, face

MEGABYTES = 64
PICTURE = encoded(photograph(40, 30))
TAR = "application/x-tar"
CLIENTS = 6
ENROLMENTS = 48


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    face_artifact(root)
    tiny_artifact(root, "tiny")
    return root


def portrait(index: int) -> np.ndarray:
    return np.asarray(photograph(32, 32, index))


def enrol_over_http(http: httpx.Client, index: int) -> httpx.Response:
    """Send one enrolment, once: a client of this project would send it again."""
    return http.put(
        f"/v1/faces/people/{index}/pictures",
        params={"aligned": "true"},
        content=encoded(photograph(32, 32, index)),
        headers={"Idempotency-Key": f"key-{index}"},
    )


def check_everybody(address: str, acknowledged: set[int]) -> None:
    """Who was acknowledged is found by the picture of theirs, and is there once."""
    with Client(address) as client:
        listed = {int(each.person): each.pictures for each in client.people()}
        assert set(listed) >= acknowledged
        assert set(listed.values()) <= {1}
        for start in range(0, len(acknowledged), 50):
            part = sorted(acknowledged)[start : start + 50]
            answer = client.identify([portrait(index) for index in part], aligned=True, top=1)
            for index, picture in zip(part, answer.pictures, strict=True):
                best = picture.people[0]
                assert (best.person, best.distance) == (str(index), 0.0)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", MEGABYTES) as folder:
        yield folder


def test_a_full_disk_loses_nothing_and_kills_no_worker(
    models: Path, full: Path, tmp_path: Path
) -> None:
    """The database and the server's own folder are on it; that of the models is read-only."""
    temporary = full / "tmp"
    temporary.mkdir()
    database = str(full / "gallery.sqlite3")
    with read_only(models):
        server = start_server(
            models, tmp_path / "log", VITRINE_DATABASE=database, TMPDIR=str(temporary)
        )
        try:
            while len(list(temporary.glob("vitrine-*/worker-?"))) < WORKERS:
                time.sleep(0.05)  # a worker that still starts would need space
            workers = psutil.Process(server.process.pid).children()
            with httpx.Client(base_url=server.address, timeout=60) as http:
                taken = {i for i in range(5) if enrol_over_http(http, i).status_code == 200}
                assert len(taken) == 5
                rest = fill(full)
                for index in range(100, 400):  # SQLite's log may have some space left
                    refusal = enrol_over_http(http, index)
                    if refusal.status_code != 200:
                        break
                    taken.add(index)
                assert refusal.status_code == 503
                assert refusal.json()["code"] == "gallery-unavailable"
                assert "is full" in refusal.json()["detail"]
                assert "retry-after" not in refusal.headers
                for what in ("classify", "explain", "inspect", "features"):
                    for _ in range(4):  # any worker may answer
                        answer = httpx.post(
                            f"{server.address}/v1/models/tiny/{what}", content=PICTURE, timeout=60
                        )
                        assert answer.status_code == 200, answer.text
                assert http.get("/metrics").status_code == 200
                for address in ("faces/import", "models/tiny/classify?errors=each"):
                    large = http.post(
                        f"/v1/{address}", content=bytes(21_000_000), headers={"Content-Type": TAR}
                    )
                    assert (large.status_code, large.json()["code"]) == (503, "no-disk-space")
                reload = http.post("/v1/models:reload")
                assert (reload.status_code, reload.json()["code"]) == (503, "reload-failed")
                check_everybody(server.address, taken)
                assert psutil.Process(server.process.pid).children() == workers
                rest.unlink()
                assert enrol_over_http(http, index).status_code == 200
                assert http.post("/v1/models:reload").status_code == 200
            check_everybody(server.address, {*taken, index})
            assert psutil.Process(server.process.pid).children() == workers
        finally:
            server.stop()


def test_the_files_of_the_metrics_have_space_on_the_disk() -> None:
    own = list(metrics.FOLDER.glob(f"*_{metrics.os.getpid()}.db"))
    metrics.requests.labels("/x", "200").inc()
    metrics.gallery.set(0)
    metrics.device_info.labels("cpu", "cpu", "0", "").set(1)
    assert set(own) == set(metrics.FOLDER.glob(f"*_{metrics.os.getpid()}.db"))
    assert len(own) == len(metrics.FILE_KINDS)
    for file in own:
        assert file.stat().st_blocks * 512 >= file.stat().st_size >= metrics.FILE_BYTES


def test_a_damaged_database_makes_the_server_unready(models: Path, tmp_path: Path) -> None:
    """Its first page is whole, so that the damage is found only once the rest is read."""
    file = tmp_path / "gallery.sqlite3"
    gallery = Gallery(str(file))
    for seed in range(50):
        enrol(gallery, "ada", seed)
    assert gallery.search(face(1), MODEL, "euclidean", 1)
    gallery.database.close()
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    server = start_server(models, tmp_path / "log", until="/v1/models", VITRINE_DATABASE=str(file))
    try:
        with httpx.Client(base_url=server.address, timeout=60) as http:
            refusal = http.get("/v1/faces")
            assert (refusal.status_code, refusal.json()["code"]) == (503, "gallery-unavailable")
            assert "is damaged" in refusal.json()["detail"]
            assert "retry-after" not in refusal.headers
            assert http.get("/readyz").status_code == 503
            assert http.post("/v1/models/tiny/classify", content=PICTURE).status_code == 200
        assert "THE GALLERY OF FACES IS NOT READY" in (tmp_path / "log").read_text()
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_a_restart_of_postgresql_loses_nothing(models: Path, tmp_path: Path) -> None:
    programs = postgresql_programs()
    if programs is None:
        pytest.skip(MISSING)
    database = PostgresqlServer(programs)
    database.start()
    server = start_server(models, tmp_path / "log", VITRINE_DATABASE=database.url)
    refusals: Counter[str] = Counter()
    away = threading.Event()
    taken: set[int] = set()

    def enrol_until_taken(index: int) -> None:
        with httpx.Client(base_url=server.address, timeout=60) as http:
            while (answer := enrol_over_http(http, index)).status_code != 200:
                assert answer.status_code == 503, answer.text
                refusals[answer.json()["code"]] += 1
                assert answer.headers["retry-after"] == "1"
                away.set()
                time.sleep(0.2)
        taken.add(index)

    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(enrol_until_taken, index) for index in range(ENROLMENTS)]
            while len(taken) < ENROLMENTS // 4:
                time.sleep(0.01)
            database.stop()
            assert away.wait(60)
            assert httpx.get(f"{server.address}/readyz", timeout=60).status_code == 200
            database.start()
            for future in asked:
                future.result(120)
        assert set(refusals) == {"gallery-unavailable"}
        check_everybody(server.address, set(range(ENROLMENTS)))
    finally:
        server.stop()
        database.stop()
        database.remove()
