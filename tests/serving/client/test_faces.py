"""What both clients ask about faces and the gallery, on a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import chunks
from serving.problems import RequestError
from tests.graphs import face_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.client.conftest import opened

MANY = 55
"""People whose enrolment makes more changes than one page of the change log holds."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("faces")
    face_artifact(root / "models", default=True)
    face_artifact(root / "models", "raw", verification={"metric": "cosine"}, dimension=8)
    with running_server(root / "models", root / "log") as address:
        yield address


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Any]:
    """A client of each kind, with an empty gallery."""
    with opened(request.param, address) as client:
        for person in list(client.people()):
            client.remove_person(person.person)
        yield client


def portrait(seed: int) -> bytes:
    return encoded(photograph(48, 48, seed))


def test_two_pictures_are_compared(client: Any) -> None:
    assert client.verify(portrait(1), portrait(1), aligned=True).result == "match"
    other = client.verify(portrait(1), portrait(2), aligned=True, fmr=0.01)
    assert (other.result, other.threshold.target_fmr) == ("no_match", 0.01)
    raw = client.verify(portrait(1), portrait(2), aligned=True, model="raw")
    assert (raw.result, raw.metric) == ("cannot_say", "cosine")
    rows = np.array(client.embed([portrait(1), portrait(2)], aligned=True).embeddings)
    assert other.distance == pytest.approx(np.linalg.norm(rows[0] - rows[1]), rel=1e-5)
    unaligned = client.verify(portrait(1), portrait(2), several="error")
    assert (unaligned.result, unaligned.first.problem) == ("cannot_say", "no-face")


def test_people_are_enrolled_identified_and_removed(client: Any) -> None:
    ada = client.enrol("Ada", [portrait(1), np.asarray(photograph(48, 48, 2))], aligned=True)
    client.enrol("..", [portrait(3)], aligned=True)
    found = client.identify([portrait(1), portrait(9)], aligned=True, top=1).pictures
    assert [(p.result, len(p.people)) for p in found] == [("known", 1), ("unknown", 1)]
    assert found[0].people[0].person == "Ada"
    assert [(p.person, p.pictures) for p in client.people()] == [("Ada", 2), ("..", 1)]
    assert (client.gallery().people, client.gallery().pictures) == (2, 3)
    assert client.remove_picture("Ada", ada.pictures[0]).pictures == ada.pictures[:1]
    assert [p.id for p in client.person("Ada").pictures] == [*ada.pictures[1:]]
    assert client.remove_person("..").pictures != ()
    assert [p.person for p in client.people()] == ["Ada"]
    with pytest.raises(RequestError, match="1 to 200 characters"):
        client.person("a/b")


def test_each_picture_is_answered_or_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 2)
    pictures = [portrait(1), b"junk", b"junk", b"junk", np.asarray(photograph(48, 48, 2))]
    client.enrol("Ada", [portrait(1)], aligned=True)
    embedded = client.embed_each(pictures, aligned=True)
    rows = client.embed([pictures[0], pictures[4]], aligned=True)
    assert embedded.metric == rows.metric
    assert [e.embeddings[0] for e in (embedded.pictures[0], embedded.pictures[4])] == [
        pytest.approx(row, abs=1e-5) for row in rows.embeddings
    ]
    found = client.identify_each(pictures, aligned=True, top=1)
    assert found.threshold is not None
    assert [p.faces[0].result for p in (found.pictures[0], found.pictures[4])] == [
        "known", "unknown",
    ]  # fmt: skip
    for answer in (embedded, found):
        assert [entry.index for entry in answer.pictures] == [0, 1, 2, 3, 4]
        refused = answer.pictures[1:4]
        assert [entry.problem.picture for entry in refused] == [1, 2, 3]
        assert {entry.problem.code for entry in refused} == {"unsupported-format"}
    assert embedded.pictures[4].faces[0].picture == found.pictures[4].faces[0].face.picture == 4


def test_an_enrolment_is_repeated_by_its_key(client: Any, request: pytest.FixtureRequest) -> None:
    key = request.node.name
    given = [client.enrol("p", [portrait(1)], aligned=True, idempotency_key=key) for _ in (1, 2)]
    assert [answer.replayed for answer in given] == [False, True]
    assert not client.enrol("p", [portrait(1)], aligned=True).replayed
    assert len(client.person("p").pictures) == 2


def test_lists_go_on_behind_the_first_page(client: Any) -> None:
    for number in range(MANY):
        client.enrol(f"{number}", [portrait(number)], aligned=True)
    numbers = [change.number for change in client.changes()]
    assert len(numbers) > 100
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_gallery_goes_through_a_file(client: Any, tmp_path: Path) -> None:
    for number in range(3):
        client.enrol(f"{number}", [portrait(number)], aligned=True)
    before = list(client.people())
    file = tmp_path / "gallery.parquet"
    client.export_gallery(file)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.parquet"]
    client.remove_person("1")
    back = client.import_gallery(file)
    assert (back.added, back.present) == (1, 2)
    assert {(p.person, p.pictures) for p in client.people()} == {
        (p.person, p.pictures) for p in before
    }
    file.write_bytes(b"junk")
    with pytest.raises(RequestError) as caught:
        client.import_gallery(file)
    assert caught.value.code == "bad-gallery-file"
    with pytest.raises(FileNotFoundError):
        client.import_gallery(tmp_path / "none")


def test_a_refusal_names_the_picture(client: Any) -> None:
    for ask in (
        lambda pictures: client.enrol("p", pictures, aligned=True),
        lambda pictures: client.identify(pictures, aligned=True),
        lambda pictures: client.embed(pictures, aligned=True),
    ):
        with pytest.raises(RequestError) as caught:
            ask([portrait(1), b"junk"])
        assert (caught.value.code, caught.value.picture) == ("unsupported-format", 1)
    assert list(client.people()) == []
