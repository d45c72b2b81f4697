from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis import inputs
from analysis.answers import features
from analysis.inputs import UNKNOWN, Pictures
from artifacts import DataError
from serving.client.chunks import Rows, Source, UnreachableError
from serving.client.in_process import LocalPredictor


def picture(path: Path, side: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), "teal").save(path)


def test_class_folders_give_labels(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/deep/b.png", "dog/c.png", "empty/notes.txt"):
        picture(tmp_path / name) if name.endswith("png") else (tmp_path / "empty").mkdir()
    pictures = Pictures.from_folder(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert list(pictures.names) == ["cat/a.png", "cat/deep/b.png", "dog/c.png"]
    assert [pictures.label(i) for i in range(3)] == ["cat", "cat", "dog"]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "sub" / "b.png")
    pictures = Pictures.from_folder(tmp_path)
    assert list(pictures.names) == ["a.png", "sub/b.png"]
    assert pictures.labels.tolist() == [UNKNOWN, UNKNOWN]
    assert pictures.label(0) == ""


def test_limit_draws_evenly_and_names_stay(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / f"{number}.png")
    assert list(Pictures.from_folder(tmp_path, 3).names) == ["0.png", "4.png", "9.png"]
    pictures = Pictures.from_dataset("synthetic/digits:test", 3)
    assert list(pictures.names) == ["0", "250", "499"]
    assert [pictures.label(i) for i in range(3)] == ["0", "0", "9"]
    assert pictures.synthetic


def test_a_table_lists_pictures_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path / "data"))
    picture(tmp_path / "data/a.png", 20)
    picture(tmp_path / "b.png", 21)
    picture(tmp_path / "c.png", 22)
    table = tmp_path / "pictures.csv"
    table.write_text("path,label,split\nc.png,cat,train\ndata/a.png,cat,test\nb.png,cat,test\n")
    pictures = Pictures.from_dataset(f"table/{table}:test")
    assert list(pictures.names) == ["a.png", (tmp_path / "b.png").as_posix()]
    assert pictures.classes == ("cat",)


def test_chunks_are_bounded_and_keep_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, size in enumerate([100, 100, 100, 900, 2000, 10]):
        (tmp_path / f"{number}.png").write_bytes(bytes(size))
    monkeypatch.setattr(inputs, "CHUNK_PICTURES", 2)
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 1000)
    answers = list(Pictures.from_folder(tmp_path).ask("measuring", lambda x: [len(i) for i in x]))
    assert [indices for indices, _ in answers] == [[0, 1], [2, 3], [4], [5]]
    assert [sizes for _, sizes in answers] == [[100, 100], [100, 900], [2000], [10]]


def test_arrays_are_sent_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "CHUNK_PICTURES", 256)
    pictures = Pictures.from_dataset("synthetic/digits:test", 300)
    sent = [np.stack(images) for _, images in pictures.ask("copying", list)]
    assert [len(part) for part in sent] == [256, 44]
    assert (np.concatenate(sent) == pictures.images).all()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="no pictures found"):
        Pictures.from_folder(tmp_path)


class Away(LocalPredictor):
    """Answers once, fails twice like a client without a server, then answers again."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.plan = [True, False, False]

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        if self.plan and not self.plan.pop(0):
            raise UnreachableError("no server answers.")
        return super().features(name, pictures)


def test_a_server_that_comes_back_is_asked_again(
    models_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inputs, "RETRY_DELAYS", (0.01, 0.01))
    monkeypatch.setattr(inputs, "CHUNK_PICTURES", 10)
    pictures = Pictures.from_dataset("synthetic/digits:test", 30)
    expected = LocalPredictor(models_root)
    info = expected.model_info("tiny")
    found = features(Away(models_root), info, pictures)
    assert capsys.readouterr().err.count("Trying again in") == 2
    np.testing.assert_array_equal(found.vectors, features(expected, info, pictures).vectors)
