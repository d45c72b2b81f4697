"""Faces over HTTP: the server as it is run, without keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from serving.client import Client
from serving.faces.names import MAX_CHARACTERS
from serving.faces.schemas import EachIdentified
from serving.http.bulk import WINDOW_PICTURES
from serving.problems import RequestError
from serving.schemas import NDJSON
from tests.archives import TAR, make_tar
from tests.graphs import THRESHOLDS, face_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.http.test_app import form, refused

ALIGNED = {"aligned": "true"}
ODD = (
    "a",
    "a b",
    "..",
    "%2F",
    'O\'Brien "Bob"; DROP TABLE people;--',
    "李小龍",
    "👩🏽",
    "\u00e9",
    "?#&+",
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("faces")
    face_artifact(root / "models", default=True)
    face_artifact(root / "models", "raw", verification={"metric": "cosine"}, dimension=8)
    with running_server(root / "models", root / "log") as address:
        yield address


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


def portrait(seed: int) -> bytes:
    return encoded(photograph(48, 48, seed))


def test_verify_answers_by_the_threshold(faces: Client) -> None:
    same = faces.verify(portrait(1), encoded(photograph(48, 48, 1), "BMP"), aligned=True)
    assert (same.result, same.distance, same.reason) == ("match", 0.0, None)
    assert same.threshold is not None
    assert same.threshold.model_dump(exclude={"fnmr"}) == THRESHOLDS[1]
    assert same.model.name == "faces"
    assert (same.first.box.width, same.first.box.height) == (48, 48)
    other = faces.verify(portrait(1), portrait(2), aligned=True)
    assert other.result == "no_match"
    rows = np.array(faces.embed([portrait(1), portrait(2)], aligned=True).embeddings)
    assert rows.shape == (2, 16)
    assert other.distance == pytest.approx(np.linalg.norm(rows[0] - rows[1]), rel=1e-5)


def test_a_target_rate_chooses_the_threshold(faces: Client) -> None:
    first = photograph(48, 48, 1)
    second = np.asarray(first).astype(np.int16)
    second[:24] += 12
    near = np.clip(second, 0, 255).astype(np.uint8)
    strict = faces.verify(encoded(first), near, aligned=True)
    loose = faces.verify(encoded(first), near, aligned=True, fmr=0.01)
    assert strict.distance == loose.distance
    assert strict.distance is not None
    assert 0.1 < strict.distance < 0.2, "the picture is between the thresholds"
    assert (strict.result, loose.result) == ("no_match", "match")
    with pytest.raises(RequestError) as caught:
        faces.verify(portrait(1), portrait(2), aligned=True, fmr=0.5)
    assert "0.001, 0.01" in caught.value.reason


def test_a_model_without_thresholds_cannot_say(faces: Client) -> None:
    answer = faces.verify(portrait(1), portrait(2), aligned=True, model="raw")
    assert (answer.result, answer.threshold, answer.metric) == ("cannot_say", None, "cosine")
    assert answer.distance is not None
    assert answer.reason is not None
    assert "no thresholds" in answer.reason


def test_what_has_no_distance_cannot_be_said_or_enrolled(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("zero")
    face_artifact(root / "models", verification={"metric": "cosine"}, middle=0.0)
    black = encoded(photograph(16, 16).point(lambda _: 0))
    with running_server(root / "models", root / "log") as address, Client(address) as client:
        answer = client.verify(black, portrait(1), aligned=True)
        assert (answer.result, answer.distance) == ("cannot_say", None)
        (picture,) = client.identify([black], aligned=True).pictures
        assert (picture.result, picture.people) == ("cannot_say", ())
        with pytest.raises(RequestError) as caught:
            client.enrol("p", [portrait(1), black], aligned=True)
        assert (caught.value.code, caught.value.picture) == ("no-embedding", 1)
        assert list(client.people()) == []


def test_enrolled_people_are_identified(faces: Client) -> None:
    for seed in range(6):
        enrolled = faces.enrol(f"p{seed}", [portrait(seed), portrait(100 + seed)], aligned=True)
        assert len(set(enrolled.pictures)) == 2
    answer = faces.identify([portrait(103), portrait(999)], aligned=True, top=3)
    known, unknown = answer.pictures
    assert (known.result, known.people[0].person) == ("known", "p3")
    assert known.people[0].within
    assert known.people[0].picture in {p.id for p in faces.person("p3").pictures}
    assert [p.distance for p in known.people] == sorted(p.distance for p in known.people)
    assert len({p.person for p in known.people}) == 3
    assert unknown.result == "unknown"
    assert not any(p.within for p in unknown.people)
    assert answer.search.kind == "exact"
    assert answer.threshold is not None
    assert answer.threshold.target_fmr == 1e-3
    gallery = faces.gallery()
    assert (gallery.people, gallery.pictures) == (6, 12)
    assert gallery.model == answer.model.hash


def test_a_bad_picture_leaves_the_faces_of_others_alone(faces: Client, http: httpx.Client) -> None:
    """Over more than one window, in a form, an archive and lines."""
    for seed in range(3):
        faces.enrol(f"p{seed}", [portrait(seed)], aligned=True)
    files = {f"{i}.png": portrait(i) for i in range(WINDOW_PICTURES + 2)} | {"5.png": b"junk"}
    count = len(files)
    good = [content for content in files.values() if content != b"junk"]
    each = ALIGNED | {"errors": "each"}
    sent = [("image", item) for item in files.items()]
    answer = http.post("/v1/faces/identify", params=each, files=sent).json()
    EachIdentified.model_validate(answer)
    entries = answer["pictures"]
    assert [(e["index"], e["name"]) for e in entries] == list(enumerate(files))
    assert [i for i, e in enumerate(entries) if "problem" in e] == [5]
    assert entries[5]["problem"]["code"] == "unsupported-format"
    assert entries[5]["problem"]["picture"] == 5
    found = [face for e in entries if "faces" in e for face in e["faces"]]
    assert [face["face"]["picture"] for face in found] == [i for i in range(count) if i != 5]
    alone = faces.identify(good, aligned=True).model_dump(mode="json")
    assert [without_number(face) for face in found] == [
        without_number(face) for face in alone["pictures"]
    ]
    assert {k: v for k, v in answer.items() if k != "pictures"} == {
        k: v for k, v in alone.items() if k != "pictures"
    }
    headers = {"Content-Type": TAR, "Accept": NDJSON}
    lines = http.post(
        "/v1/faces/identify", params=ALIGNED, content=make_tar(files), headers=headers
    )
    assert [json.loads(line) for line in lines.text.splitlines()] == entries
    del headers["Accept"]
    problem = http.post("/v1/faces/embed", params=ALIGNED, content=make_tar(files), headers=headers)
    assert (problem.status_code, problem.json()["picture"]) == (415, 5)


def without_number(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"face": {k: v for k, v in found["face"].items() if k != "picture"}}


def test_an_empty_gallery_knows_nobody(faces: Client) -> None:
    (picture,) = faces.identify([portrait(1)], aligned=True).pictures
    assert (picture.result, picture.people) == ("unknown", ())


@pytest.mark.parametrize("person", [*ODD, "x" * MAX_CHARACTERS, "😀" * MAX_CHARACTERS])
def test_people_may_be_called_anything(faces: Client, person: str) -> None:
    faces.enrol("another", [portrait(1)], aligned=True)
    (name,) = faces.enrol(person, [portrait(2)], aligned=True).pictures
    found = faces.identify([portrait(2)], aligned=True, top=1).pictures[0].people[0]
    assert (found.person, found.picture) == (person, name)
    assert faces.person(person).pictures[0].id == name
    assert {p.person for p in faces.people()} == {"another", person}
    assert faces.remove_person(person).person == person
    assert [p.person for p in faces.people()] == ["another"]


@pytest.mark.parametrize(
    "path",
    [
        quote("x" * (MAX_CHARACTERS + 1)),
        "y" * 10_000,
        "a%2Fb",
        "a%2fpictures%2f" + "0" * 32,
        "a%00b",
        "a%0Ab",
        "a%7F",
        "%C2%85",
        "a%FFb",
    ],
)
def test_what_nobody_may_be_called(http: httpx.Client, path: str) -> None:
    for response in (
        http.put(f"/v1/faces/people/{path}/pictures", params=ALIGNED, content=portrait(1)),
        http.get(f"/v1/faces/people/{path}"),
        http.delete(f"/v1/faces/people/{path}"),
    ):
        assert "1 to 200 characters" in refused(response, "bad-person")


def test_an_encoded_slash_reaches_nobody_else(faces: Client, http: httpx.Client) -> None:
    (name,) = faces.enrol("a", [portrait(1)], aligned=True).pictures
    refused(http.delete(f"/v1/faces/people/a%2Fpictures%2F{name}"), "bad-person")
    refused(http.delete("/v1/faces/people/a%2F", follow_redirects=True), "bad-person")
    refused(http.delete("/v1/faces/people/a/", follow_redirects=True), "not-found")
    assert len(faces.person("a").pictures) == 1
    assert faces.remove_picture("a", name).pictures == (name,)
    assert faces.person("a").pictures == ()


def test_the_client_refuses_what_nobody_may_be_called(faces: Client) -> None:
    for person in ("", "a/b", "\ud800"):
        with pytest.raises(RequestError, match="1 to 200 characters"):
            faces.person(person)


def test_the_same_key_enrols_once(faces: Client, http: httpx.Client) -> None:
    first = faces.enrol("p", [portrait(1)], aligned=True, idempotency_key="k")
    again = faces.enrol("p", [portrait(1)], aligned=True, idempotency_key="k")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.pictures == first.pictures
    for person, seed in (("p", 2), ("q", 1)):
        with pytest.raises(RequestError) as caught:
            faces.enrol(person, [portrait(seed)], aligned=True, idempotency_key="k")
        assert caught.value.code == "idempotency-key-used"
    for bad in ("", "x" * 256):
        response = http.put(
            "/v1/faces/people/p/pictures",
            params=ALIGNED,
            content=portrait(1),
            headers={"Idempotency-Key": bad},
        )
        refused(response, "bad-parameter")
    assert len(faces.person("p").pictures) == 1


def test_one_bad_picture_enrols_none(faces: Client) -> None:
    with pytest.raises(RequestError) as caught:
        faces.enrol("p", [portrait(1), b"junk"], aligned=True)
    assert (caught.value.code, caught.value.picture) == ("unsupported-format", 1)
    assert list(faces.people()) == []


def test_lists_come_in_pages(faces: Client, http: httpx.Client) -> None:
    for seed in range(5):
        faces.enrol(f"p{seed}", [portrait(seed)], aligned=True)
    names, after = [], 0
    while after is not None:
        page = http.get("/v1/faces/people", params={"after": after, "limit": 2}).json()
        names.append([person["person"] for person in page["people"]])
        after = page["next"]
    assert names == [["p0", "p1"], ["p2", "p3"], ["p4"]]
    log = list(faces.changes())
    assert [change.number for change in log] == list(range(1, len(log) + 1))
    assert {change.actor for change in log} == {"local"}
    for bad in ({"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": "x"}):
        refused(http.get("/v1/faces/people", params=bad), "bad-parameter")


def test_bad_questions_are_refused(http: httpx.Client) -> None:
    post = http.post
    refused(post("/v1/faces/verify", params=ALIGNED, content=portrait(1)), "no-picture")
    only = {"first": portrait(1)}
    assert "'second'" in refused(post("/v1/faces/verify", params=ALIGNED, files=only), "no-picture")
    two = [*form(portrait(1), portrait(1), field="first"), *form(portrait(2), field="second")]
    refused(post("/v1/faces/verify", params=ALIGNED, files=two), "bad-form")
    refused(post("/v1/faces/identify", params=ALIGNED, content=b""), "no-picture")
    for name, value in (("top", "0"), ("fmr", "0"), ("fmr", "1"), ("fmr", "x"), ("aligned", "so")):
        response = post("/v1/faces/identify", params=ALIGNED | {name: value}, content=portrait(1))
        assert name in refused(response, "bad-parameter")
    response = post("/v1/faces/embed", params=ALIGNED | {"model": "no"}, content=portrait(1))
    refused(response, "unknown-model")
    refused(http.get("/v1/faces/people/nobody"), "unknown-person")
    refused(http.delete("/v1/faces/people/nobody"), "unknown-person")
    refused(http.delete("/v1/faces/people/nobody/pictures/x"), "unknown-person")
    refused(http.post("/v1/faces/people/nobody"), "method-not-allowed")
    refused(http.get("/v1/faces/people/a/b"), "not-found")


def test_the_gallery_goes_through_a_file(faces: Client, tmp_path: Path) -> None:
    for person in ODD:
        faces.enrol(person, [portrait(len(person)), portrait(50 + len(person))], aligned=True)
    before = {p.person: faces.person(p.person) for p in faces.people()}
    faces.export_gallery(tmp_path / "gallery.parquet")
    assert faces.import_gallery(tmp_path / "gallery.parquet").added == 0
    for person in ODD:
        faces.remove_person(person)
    back = faces.import_gallery(tmp_path / "gallery.parquet")
    assert (back.added, back.present) == (2 * len(ODD), 0)
    for person, told in before.items():
        now = faces.person(person)
        assert now.pictures == told.pictures
    found = faces.identify([portrait(50 + len("李小龍"))], aligned=True, top=1).pictures[0]
    assert found.people[0].distance == 0.0


def test_openapi_knows_all_of_it(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()
    paths = {path: set(what) for path, what in described["paths"].items() if "faces" in path}
    assert paths == {
        "/v1/faces": {"get"},
        "/v1/faces/verify": {"post"},
        "/v1/faces/embed": {"post"},
        "/v1/faces/identify": {"post"},
        "/v1/faces/people": {"get"},
        "/v1/faces/people/{person}": {"get", "delete"},
        "/v1/faces/people/{person}/pictures": {"put"},
        "/v1/faces/people/{person}/pictures/{picture}": {"delete"},
        "/v1/faces/changes": {"get"},
        "/v1/faces/export": {"get"},
        "/v1/faces/import": {"post"},
    }
    put = described["paths"]["/v1/faces/people/{person}/pictures"]["put"]
    assert {p["name"] for p in put["parameters"]} == {
        "person",
        "aligned",
        "several",
        "Idempotency-Key",
    }
    assert put["security"]
    verify = described["paths"]["/v1/faces/verify"]["post"]["requestBody"]["content"]
    assert verify["multipart/form-data"]["schema"]["required"] == ["first", "second"]
