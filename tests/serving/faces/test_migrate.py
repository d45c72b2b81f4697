"""From one model's embeddings to another's."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from serving.__main__ import main
from serving.faces.gallery import Gallery
from serving.faces.migrate import plan, re_embed
from serving.faces.operations import embed
from serving.faces.writer import NewPicture
from serving.inference.served_model import ServedModel
from serving.pictures.decode import read_pictures
from serving.problems import RequestError
from tests.commands import run_in_process
from tests.graphs import face_artifact
from tests.pictures import encoded, photograph


@pytest.fixture
def models(tmp_path: Path) -> tuple[ServedModel, ServedModel]:
    old = face_artifact(tmp_path / "models", "old")
    new = face_artifact(tmp_path / "models", "new", dimension=24)
    return ServedModel(old), ServedModel(new)


def portrait(seed: int) -> bytes:
    return encoded(photograph(40, 40, seed))


def enrol(gallery: Gallery, model: ServedModel, person: str, seed: int, *, kept: bool) -> str:
    content = portrait(seed)
    (face,) = embed(model, read_pictures([content], model.manifest.input), aligned=True)
    name = f"{seed:032x}"
    new = NewPicture(person, face.vector, aligned=True, content=content if kept else None, id=name)
    gallery.writer.enrol(person, model.artifact.hash, [new], "test")
    return name


def found(gallery: Gallery, model: ServedModel, seed: int) -> tuple[str, float]:
    (face,) = embed(model, read_pictures([portrait(seed)], model.manifest.input), aligned=True)
    (best,) = gallery.search(face.vector, model.artifact.hash, "euclidean", 1)
    return best.person, best.distance


def test_kept_pictures_move_and_the_others_are_lost(
    gallery: Gallery, models: tuple[ServedModel, ServedModel]
) -> None:
    old, new = models
    for seed in range(150):
        enrol(gallery, old, f"p{seed % 50}", seed, kept=seed < 120)
    enrol(gallery, old, "only forgotten", 999, kept=False)
    assert found(gallery, old, 130) == ("p30", 0.0)
    intended = plan(gallery.database, new.artifact.hash)
    assert intended == (True, 151, 31, 1)
    told: list[int] = []
    assert re_embed(gallery.database, new, told.append) == 31
    assert sum(told) == 120
    assert found(gallery, new, 70) == ("p20", 0.0)
    assert found(gallery, new, 130)[1] > 0
    assert gallery.reader.state()[0] == new.artifact.hash
    assert gallery.reader.state()[2:] == (51, 120)
    assert gallery.reader.person("only forgotten")[1] == []
    with pytest.raises(RequestError) as caught:
        found(gallery, old, 70)
    assert caught.value.code == "another-model"
    assert plan(gallery.database, new.artifact.hash) == (False, 120, 0, 0)


def test_an_interrupted_migration_goes_on_and_changes_nothing_before(
    gallery: Gallery, models: tuple[ServedModel, ServedModel]
) -> None:
    old, new = models
    for seed in range(150):
        enrol(gallery, old, f"p{seed}", seed, kept=True)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        re_embed(gallery.database, new, interrupt)
    assert found(gallery, old, 3) == ("p3", 0.0)
    gallery.writer.remove_person("p3", "test")
    enrol(gallery, old, "late", 777, kept=True)
    told: list[int] = []
    assert re_embed(gallery.database, new, told.append) == 0
    assert sum(told) == 150 - 64 + 1
    assert found(gallery, new, 777) == ("late", 0.0)
    assert found(gallery, new, 3)[1] > 0


def test_the_command_says_what_is_lost_before_it_starts(
    models: tuple[ServedModel, ServedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "gallery.sqlite3"
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    monkeypatch.setenv("VITRINE_DATABASE", str(store))
    gallery = Gallery(str(store))
    enrol(gallery, models[0], "p", 1, kept=True)
    enrol(gallery, models[0], "q", 2, kept=False)

    run = partial(run_in_process, main, "serving", "re-embed")
    refused = subprocess.run(
        [sys.executable, "-m", "serving", "re-embed", "new"],
        input="n\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 130
    assert "Pictures LOST because they were not kept: 1;" in refused.stdout
    assert "people who lose all their pictures: 1." in refused.stdout
    assert found(gallery, models[0], 2) == ("q", 0.0)
    done = run("new", "--yes")
    assert done.status == 0, done.err
    assert "the gallery now holds embeddings of new; pictures lost: 1." in done.out
    assert found(gallery, models[1], 1) == ("p", 0.0)
    assert "nothing to do" in run("new").out
    unknown = run("nobody")
    assert (unknown.status, unknown.err.count("\n")) == (1, 1)
    gallery.database.close()
