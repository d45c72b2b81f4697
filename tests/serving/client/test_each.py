"""Answers for each picture on its own: the same from both clients and in this process."""

from pathlib import Path
from typing import Any

import pytest

from artifacts import VitrineError
from serving.client import Client, LocalPredictor, calls, chunks
from serving.client.chunks import ServerError
from serving.client.connection import _Lines
from serving.problems import RequestError
from serving.schemas import RefusedPicture
from tests.archives import make_tar, make_zip
from tests.pictures import encoded, photograph
from tests.serving.client.conftest import opened

GOOD = [encoded(photograph(40, 30, seed)) for seed in range(5)]
MIXED = [GOOD[0], b"junk", GOOD[1], encoded(photograph(4, 4)), *GOOD[2:], GOOD[0][:-30]]
CODES = [
    None, "unsupported-format", None, "picture-too-small", None, None, None, "damaged-picture",
]  # fmt: skip
ARCHIVES = {"p.zip": make_zip, "P.TAR": make_tar, "p.tgz": lambda files: make_tar(files, "w:gz")}


def codes(entries: Any) -> list[str | None]:
    return [e.problem.code if isinstance(e, RefusedPicture) else None for e in entries]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_picture_is_answered_or_refused(
    kind: str, url: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 3)
    local = LocalPredictor(models)
    ours = local.classify_each("tiny", MIXED, top=2)
    with opened(kind, url) as client:
        theirs = client.classify_each("tiny", MIXED, top=2)
        alone = client.classify("tiny", GOOD, top=2)
    assert ours.model == theirs.model == alone.model
    for answer in (ours, theirs):
        assert codes(answer.pictures) == CODES
        assert [picture.index for picture in answer.pictures] == [*range(len(MIXED))]
        refused = answer.pictures[3]
        assert (refused.problem.picture, refused.name) == (3, None)
        assert refused.problem.detail.startswith("picture 3: it is 4x4; ")
        assert refused.problem.reason.startswith("it is 4x4; ")
        good = [e for e in answer.pictures if not isinstance(e, RefusedPicture)]
        for found, expected in zip(good, alone.pictures, strict=True):
            assert [p.label for p in found.top] == [p.label for p in expected.top]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_by_route_it_is_the_same(kind: str, url: str) -> None:
    with opened(kind, url) as client:
        named = client.classify_each("tiny", MIXED, top=2)
        assert client.classify_each_by_route("cifar10", MIXED, top=2) == named
        other = client.classify_each_by_route("cifar10", MIXED, top=1, model="other", keep=None)
        with pytest.raises(RequestError, match="route = 'faces'"):
            client.classify_each_by_route("faces", MIXED)
    assert (other.model.name, codes(other.pictures)) == ("other", CODES)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_neighbours_of_each_picture(
    kind: str, url: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 3)
    ours = LocalPredictor(models).neighbours_each("other", MIXED, top=2)
    with opened(kind, url) as client:
        theirs = client.neighbours_each("other", MIXED, top=2)
    assert ours.model == theirs.model
    assert codes(ours.pictures) == codes(theirs.pictures) == CODES
    assert [entry.index for entry in theirs.pictures] == [*range(len(MIXED))]
    for here, there in zip(ours.pictures, theirs.pictures, strict=True):
        if not isinstance(here, RefusedPicture):
            assert [n.number for n in here.nearest] == [n.number for n in there.nearest]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_the_pictures_of_an_archive_are_streamed(
    kind: str, name: str, url: str, tmp_path: Path
) -> None:
    archive = tmp_path / name
    archive.write_bytes(ARCHIVES[name]({f"{i}.png": each for i, each in enumerate(MIXED)}))
    with opened(kind, url) as client:
        entries = list(client.classify_archive("tiny", archive, top=1))
        assert codes(entries) == CODES
        assert [(e.index, e.name) for e in entries] == [(i, f"{i}.png") for i in range(len(MIXED))]
        assert {len(entry.top) for entry in entries if not isinstance(entry, RefusedPicture)} == {1}
        archive.write_bytes(b"damaged")
        with pytest.raises(RequestError) as caught:
            list(client.classify_archive("tiny", archive))
        assert caught.value.code == "bad-archive"
        with pytest.raises(VitrineError, match=r"ends in \.zip"):
            list(client.classify_archive("tiny", tmp_path / "p.rar"))


def test_an_iteration_may_end_early(url: str, tmp_path: Path) -> None:
    archive = tmp_path / "p.zip"
    archive.write_bytes(make_zip({f"{i}.png": GOOD[0] for i in range(200)}))
    with Client(url) as client:
        entries = client.classify_archive("tiny", archive)
        assert next(entries).name == "0.png"
        entries.close()
        assert client.classify("tiny", GOOD[:1]).model.name == "tiny"


def test_lines_end_at_line_feeds_only_and_may_come_in_pieces() -> None:
    lines = _Lines()
    text = '{"a": "\u2028"}\n{"b": "\r"}\n'.encode()
    found = [line for byte in text for line in lines.add(bytes([byte]))]
    assert found == text.split(b"\n")[:-1]


def test_an_answer_that_ends_early_raises_its_problem() -> None:
    problem = RequestError("answer-too-late", "it was not ready.")
    with pytest.raises(RequestError, match="not ready") as caught:
        calls.entry_of(RefusedPicture.of(problem.content()).model_dump_json().encode())
    assert caught.value.code == "answer-too-late"
    with pytest.raises(ServerError, match="holds no picture"):
        calls.entry_of(b"{}")
