"""Whole photographs, asked over HTTP with the model that is served by default."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

from artifacts import Artifact, artifacts_root
from examples import from_compreface
from serving.client import Client
from serving.faces.schemas import EmbeddedPicture
from serving.problems import RequestError
from serving.schemas import RefusedPicture
from tests.pictures import encoded, photograph, portrait_photograph
from tests.server import running_server
from tests.serving.http.test_app import form, refused

MODEL = "faces-dlib"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("photographs")
    shutil.copytree(artifacts_root() / MODEL, root / "models" / MODEL)
    with running_server(root / "models", root / "log") as address:
        yield address


def hopper() -> Image.Image:
    return portrait_photograph()


def together(*sides: int) -> bytes:
    """The same face several times on one picture, so many pixels wide each."""
    wide = Image.new("RGB", (sum(sides), max(sides)), "grey")
    for place, side in enumerate(sides):
        wide.paste(hopper().resize((side, side)), (sum(sides[:place]), 0))
    return encoded(wide)


def small() -> Image.Image:
    return hopper().resize((64, 75))


def blurred() -> Image.Image:
    return hopper().filter(ImageFilter.GaussianBlur(8))


REFUSED = {
    "no-face": encoded(photograph(300, 200)),
    "face-too-small": encoded(small()),
    "face-blurred": encoded(blurred()),
    "face-not-upright": encoded(hopper().rotate(180)),
}


def test_one_person_on_two_photographs_matches(faces: Client) -> None:
    other = hopper().convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((300, 350))
    answer = faces.verify(encoded(hopper()), encoded(other.rotate(10), "JPEG"))
    assert (answer.result, answer.reason) == ("match", None)
    assert answer.model.name == MODEL
    assert answer.threshold is not None
    assert answer.threshold.target_fmr == 1e-3
    assert answer.distance is not None
    assert 0 < answer.distance < answer.threshold.distance
    box, quality = answer.first.box, answer.first.quality
    assert box is not None
    assert quality is not None
    assert answer.first.found == (box,)
    assert box.left == pytest.approx(175, abs=20)
    assert quality.probability > 0.9
    assert quality.side == pytest.approx(200, abs=30)
    turned = answer.second.quality
    assert turned is not None
    assert abs(turned.roll - -quality.roll) == pytest.approx(10, abs=6)


@pytest.mark.parametrize("code", REFUSED)
def test_what_has_no_usable_face_cannot_be_said(faces: Client, code: str) -> None:
    answer = faces.verify(encoded(hopper()), REFUSED[code])
    assert (answer.result, answer.distance) == ("cannot_say", None)
    assert answer.reason is not None
    assert answer.reason.startswith("second picture: ")
    assert (answer.first.problem, answer.second.problem) == (None, code)
    (known, nobody) = faces.identify([encoded(hopper()), REFUSED[code]]).pictures
    assert (known.result, nobody.result) == ("unknown", "cannot_say")
    assert (nobody.face.problem, nobody.people) == (code, ())


@pytest.mark.parametrize("degrees", [165, 240])
def test_a_turned_face_is_not_taken_for_an_upright_one(faces: Client, degrees: int) -> None:
    turned = hopper().rotate(degrees, expand=True)  # found, with landmarks that turn it by 10 or 18
    answer = faces.verify(encoded(hopper()), encoded(turned))
    assert len(answer.second.found) == 1
    assert (answer.result, answer.second.problem) == ("cannot_say", "face-not-upright")


@pytest.mark.parametrize("code", REFUSED)
def test_what_has_no_usable_face_is_not_embedded_or_enrolled(
    faces: Client, address: str, code: str
) -> None:
    pictures = form(encoded(hopper()), REFUSED[code])
    with httpx.Client(base_url=address, timeout=30) as http:
        for response in (
            http.post("/v1/faces/embed", files=pictures),
            http.put("/v1/faces/people/p/pictures", files=pictures),
        ):
            assert refused(response, code).startswith("picture 1: ")
    assert list(faces.people()) == []


def test_of_several_faces_the_largest_is_taken_or_none(faces: Client) -> None:
    crowd = together(150, 300, 200)
    answer = faces.verify(encoded(hopper()), crowd)
    assert answer.result == "match"
    assert len(answer.second.found) == 3
    assert answer.second.box == answer.second.found[0]
    assert 150 < answer.second.found[0].left < 450, "the one in the middle"
    strict = faces.verify(encoded(hopper()), crowd, several="error")
    assert (strict.result, strict.second.problem) == ("cannot_say", "several-faces")
    assert (strict.second.box, len(strict.second.found)) == (None, 3)
    with pytest.raises(RequestError) as caught:
        faces.enrol("p", [crowd], several="error")
    assert (caught.value.code, caught.value.picture) == ("several-faces", 0)


def press() -> bytes:
    """The person in the middle, and a larger face, half of it outside, at the border."""
    wide = Image.new("RGB", (1000, 500), "grey")
    wide.paste(hopper().resize((300, 350)), (350, 75))
    wide.paste(hopper().resize((428, 500)), (-160, 0))
    return encoded(wide)


def test_the_main_face_is_chosen_unless_the_largest_is_asked_for(faces: Client) -> None:
    chosen = faces.verify(encoded(hopper()), press())
    assert (chosen.result, chosen.compared) == ("match", 1)
    for found in (chosen.first, chosen.second):
        assert found.box is not None, "the boxes of both pictures are in the answer"
    assert (chosen.first.picture, chosen.second.picture) == (0, 1)
    assert chosen.second.box is not None
    assert chosen.second.box.left == pytest.approx(350 + 175 * 300 / 512, abs=40)
    largest = faces.verify(encoded(hopper()), press(), several="largest")
    assert largest.second.box is not None
    assert largest.second.box.left < 100
    assert largest.second.box == largest.second.found[0]
    (main,) = faces.embed([press()]).faces
    assert main.box == chosen.second.box


def test_every_face_is_answered_for(faces: Client) -> None:
    crowd = together(150, 300, 40)
    nearest = faces.verify(encoded(hopper()), crowd, several="all")
    assert (nearest.result, nearest.compared) == ("match", 2), "the third face is too small"
    faces.enrol("Grace Hopper", [encoded(hopper())])
    answer = faces.identify([crowd, encoded(photograph(300, 200))], several="all").pictures
    assert [a.face.picture for a in answer] == [0, 0, 0, 1]
    assert [a.result for a in answer] == ["known", "known", "cannot_say", "cannot_say"]
    assert [a.face.problem for a in answer] == [None, None, "face-too-small", "no-face"]
    boxes = [a.face.box for a in answer[:3]]
    assert sorted(boxes, key=str) == sorted(answer[0].face.found, key=str)
    embedded = faces.embed([crowd, encoded(hopper())], several="all")
    assert [face.picture for face in embedded.faces] == [0, 0, 1]
    assert [len(row) for row in embedded.embeddings] == [128] * 3
    with pytest.raises(RequestError) as caught:
        faces.embed([crowd, encoded(photograph(300, 200))], several="all")
    assert (caught.value.code, caught.value.picture) == ("no-face", 1)


def test_all_faces_of_a_picture_are_not_one_person(address: str) -> None:
    with httpx.Client(base_url=address, timeout=30) as http:
        response = http.put(
            "/v1/faces/people/p/pictures?several=all", files=form(encoded(hopper()), press())
        )
    assert "several" in refused(response, "bad-parameter")


def test_a_picture_without_a_face_leaves_the_others_alone(faces: Client) -> None:
    crowd = together(300, 200)
    pictures = [encoded(hopper()), *REFUSED.values(), crowd, b"junk"]
    answer = faces.embed_each(pictures, several="all")
    assert [getattr(e, "problem", None) and e.problem.code for e in answer.pictures] == [
        None, *REFUSED, None, "unsupported-format",
    ]  # fmt: skip
    assert [e.index for e in answer.pictures] == list(range(len(pictures)))
    alone = faces.embed([encoded(hopper()), crowd], several="all")
    first, both = answer.pictures[0], answer.pictures[5]
    assert isinstance(first, EmbeddedPicture)
    assert isinstance(both, EmbeddedPicture)
    assert [face.picture for face in both.faces] == [5, 5]
    rows = np.array([*first.embeddings, *both.embeddings])
    assert rows == pytest.approx(np.array(alone.embeddings), abs=1e-5)
    faces.enrol("Hopper", [encoded(hopper())])
    found = faces.identify_each(pictures, several="all").pictures
    results = [
        "refused" if isinstance(e, RefusedPicture) else [face.result for face in e.faces]
        for e in found
    ]
    assert results == [["known"], *[["cannot_say"]] * 4, ["known", "known"], "refused"]


def test_a_photograph_is_enrolled_and_identified(faces: Client) -> None:
    faces.enrol("Grace Hopper", [encoded(hopper())])
    (picture,) = faces.identify([encoded(hopper().resize((256, 300)))]).pictures
    assert (picture.result, picture.people[0].person) == ("known", "Grace Hopper")
    assert not faces.person("Grace Hopper").pictures[0].aligned


def test_an_aligned_face_is_taken_as_it_is(faces: Client) -> None:
    embedded = faces.embed([encoded(photograph(150, 150))], aligned=True)
    assert len(embedded.embeddings[0]) == 128
    (face,) = embedded.faces
    assert (face.quality, face.problem) == (None, None)
    assert face.box is not None
    assert (face.box.width, face.box.height) == (150, 150)


def test_tiny_and_odd_pictures_get_an_answer(faces: Client) -> None:
    tiny = encoded(hopper().crop((150, 50, 390, 290)).resize((40, 40)))
    for picture in (tiny, encoded(photograph(40, 40)), encoded(photograph(2000, 8))):
        answer = faces.verify(picture, picture)
        assert answer.result in {"match", "cannot_say"}
        assert (answer.result == "cannot_say") == (answer.first.problem is not None)


def test_the_default_model_is_the_calibrated_one() -> None:
    manifest = Artifact.open(MODEL).manifest
    assert manifest.default
    assert manifest.verification is not None
    assert manifest.verification.thresholds


class CompreFace(BaseHTTPRequestHandler):
    """What the example asks of CompreFace, as its documentation describes it."""

    FACES = (("ada", "a/1", encoded(hopper())), ("bob", "b", REFUSED["no-face"]))

    def do_GET(self) -> None:
        assert self.headers["x-api-key"] == "secret"
        path = urlsplit(self.path)
        if path.path == "/api/v1/recognition/faces":
            query = parse_qs(path.query)
            page, size = int(query["page"][0]), int(query["size"][0])
            shown = self.FACES[page * size : (page + 1) * size]
            faces = [{"image_id": picture, "subject": name} for name, picture, _ in shown]
            pages = -(-len(self.FACES) // size)
            content = json.dumps({"faces": faces, "total_pages": pages}).encode()
        else:
            names = {"a%2F1": 0, "b": 1}
            content = self.FACES[names[path.path.split("/")[-2]]][2]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_people_of_compreface_are_enrolled(
    faces: Client, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(from_compreface, "PAGE", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), CompreFace) as source, ThreadPoolExecutor() as pool:
        pool.submit(source.serve_forever, 0.05)
        try:
            for _ in range(2):  # the second time, nothing is enrolled twice
                url = f"http://127.0.0.1:{source.server_port}"
                assert from_compreface.main(url, "secret", address) == 1
        finally:
            source.shutdown()
    assert [(each.person, each.pictures) for each in faces.people()] == [("ada", 1)]
    assert "bob, b: no face" in capsys.readouterr().out.replace("picture 0: ", "")
