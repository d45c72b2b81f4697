"""kill -9 of the whole server at random moments: what was acknowledged is there, once."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from artifacts import VitrineError
from serving.client import Client
from serving.faces.schemas import EnrolledPictures
from tests.pictures import photograph
from tests.server import Server, start_server
from tests.serving.faces.conftest import LONG

pytestmark = pytest.mark.timeout(3600 if LONG else 300)

ROUNDS = 20 if LONG else 2
ENROLMENTS = 200 if LONG else 80
CLIENTS = 8


def portrait(round_: int, index: int) -> np.ndarray:
    return np.asarray(photograph(32, 32, 1000 * round_ + index))


def test_nothing_acknowledged_is_lost(face_models: Path, database_url: str, tmp_path: Path) -> None:
    random_ = random.Random(0)
    acknowledged: dict[str, tuple[np.ndarray, str]] = {}
    server = start_server(face_models, tmp_path / "log", VITRINE_DATABASE=database_url)
    try:
        for round_ in range(ROUNDS):
            done = enrol_until_killed(server, round_, random_.randrange(1, ENROLMENTS))
            for person, name in done.items():
                acknowledged[person] = portrait(round_, int(person.split("-")[1])), name
            server = start_server(face_models, tmp_path / "log", VITRINE_DATABASE=database_url)
            check(server.address, acknowledged, round_)
    finally:
        server.stop()


def enrol_until_killed(server: Server, round_: int, kill_after: int) -> dict[str, str]:
    """Enrol from many clients at once, and kill the server after so many answers.

    Returns:
        Id of the picture by person, for what was acknowledged.
    """
    done: dict[str, str] = {}
    enough = threading.Event()

    def enrol_and_note(index: int) -> None:
        try:
            answer = enrol(client, round_, index)
        except VitrineError:  # the server was killed before it answered
            return
        done[answer.person] = answer.pictures[0]
        if len(done) >= kill_after:
            enough.set()

    with Client(server.address) as client, ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(enrol_and_note, index) for index in range(ENROLMENTS)]
        assert enough.wait(240)
        server.kill()
        for future in asked:
            future.result()
    return done


def enrol(client: Client, round_: int, index: int) -> EnrolledPictures:
    person = f"{round_}-{index}"
    picture = [portrait(round_, index)]
    return client.enrol(person, picture, aligned=True, idempotency_key=person)


def check(address: str, acknowledged: dict[str, tuple[np.ndarray, str]], round_: int) -> None:
    """Everybody acknowledged is identified; nobody is there twice, nor after a repetition."""
    with Client(address) as client:
        people = list(acknowledged)
        for start in range(0, len(people), 50):
            part = people[start : start + 50]
            answer = client.identify([acknowledged[p][0] for p in part], aligned=True, top=2)
            for person, picture in zip(part, answer.pictures, strict=True):
                best, *others = picture.people
                assert (best.person, best.distance) == (person, 0.0)
                assert best.picture == acknowledged[person][1]
                assert all(other.distance > 0 for other in others)
        # those that were not answered are asked for again, as are all others
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = pool.map(lambda index: enrol(client, round_, index), range(ENROLMENTS))
        for index, answer_ in enumerate(answers):
            if answer_.person in acknowledged:
                assert answer_.replayed
            acknowledged[answer_.person] = portrait(round_, index), answer_.pictures[0]
        assert all(person.pictures == 1 for person in client.people())
        gallery = client.gallery()
        assert gallery.people == gallery.pictures == len(acknowledged)
