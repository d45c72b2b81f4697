"""Pictures of one's own: what is a class, and that no picture is in two splits."""

import os
import shutil
import zlib
from pathlib import Path

import pytest
from PIL import Image

from artifacts import DataError
from artifacts.datasets import ImageSet, load
from artifacts.datasets.base import FileImages, file_digest


def write(folder: Path, *names: str) -> None:
    """Write pictures that all differ, also from those of another call."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), f"#{zlib.crc32(path.as_posix().encode()) & 0xFFFFFF:06x}").save(
            path
        )


def many(folder: Path, label: str, count: int, start: int = 0) -> None:
    """Write `count` pictures of a class that differ, with the same content at each call."""
    for number in range(start, start + count):
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(label), number // 256, number % 256)).save(path)


def read(root: Path) -> tuple[ImageSet, ImageSet]:
    train, test = (load("image_folder/birds", split, root) for split in ("train", "test"))
    return train, test


def files(images: ImageSet) -> list[Path]:
    assert isinstance(images.images, FileImages)
    return images.images.paths


# without splits


def test_a_fifth_of_each_class_is_held_out_to_test(tmp_path: Path) -> None:
    many(tmp_path / "birds", "owl", 200)
    many(tmp_path / "birds", "eagle", 100)
    train, test = read(tmp_path)
    assert train.classes == test.classes == ("eagle", "owl")
    assert set(files(train)).isdisjoint(files(test))
    assert len(train) + len(test) == 300
    for label, count in enumerate((100, 200)):
        assert 0.1 * count < (test.labels == label).sum() < 0.3 * count
    assert [path.parent.name for path in files(test)] == [test.classes[i] for i in test.labels]
    assert train.divided
    assert test.divided
    assert train.fingerprint != test.fingerprint


def test_added_pictures_move_none_and_copies_stay_together(tmp_path: Path) -> None:
    birds = tmp_path / "birds"
    many(birds, "owl", 60)
    many(birds, "eagle", 60)
    before = set(files(read(tmp_path)[1]))
    many(birds, "owl", 60, start=60)
    for path in list(birds.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    train, test = read(tmp_path)
    assert before <= set(files(test))
    old = {path for path in files(train) if not path.name.startswith("copy")}
    assert before.isdisjoint(old)
    digests = [{file_digest(path) for path in files(part)} for part in (train, test)]
    assert digests[0].isdisjoint(digests[1])
    assert len(test) == 2 * len(digests[1])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_smallest_classes_have_pictures_in_both_splits(tmp_path: Path, count: int) -> None:
    names = [f"class {number}{'x' * number}" for number in range(30)]
    for name in names:
        many(tmp_path / "birds", name, count)
    for part in read(tmp_path):
        assert sorted(set(part.labels.tolist())) == list(range(30))


def test_a_class_of_one_picture_cannot_be_divided(tmp_path: Path) -> None:
    many(tmp_path / "birds", "owl", 20)
    many(tmp_path / "birds", "eagle", 1)
    shutil.copy(tmp_path / "birds/eagle/0.png", tmp_path / "birds/eagle/1.png")
    with pytest.raises(DataError, match=r"birds/eagle: too few pictures .* \(1 without copies\)"):
        load("image_folder/birds", "train", tmp_path)


def test_train_without_test_is_divided(tmp_path: Path) -> None:
    many(tmp_path / "birds/train", "owl", 50)
    many(tmp_path / "birds/train", "eagle", 50)
    write(tmp_path / "birds/val", "owl/1.png", "eagle/2.png")
    train, test = read(tmp_path)
    assert len(train) + len(test) == 102
    assert {path.parts[-3] for path in files(test)} == {"train"}
    assert train.validation == 2
    assert {path.parts[-3] for path in files(train)[-2:]} == {"val"}


# with splits


def test_classes_are_one_list_for_all_splits(tmp_path: Path) -> None:
    write(tmp_path / "birds", "train/ant/1.png", "train/owl/2.png", "train/wren/3.png")
    write(tmp_path / "birds", "test/owl/4.png", "test/wren/5.png")
    train, test = read(tmp_path)
    assert train.classes == test.classes == ("ant", "owl", "wren")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2], [1, 2])
    assert not train.divided


@pytest.mark.parametrize("part", ["test", "val"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_training_pictures_is_refused(
    tmp_path: Path, part: str, split: str
) -> None:
    write(tmp_path / "birds", "train/owl/1.png", "test/owl/2.png", f"{part}/wren/3.png")
    with pytest.raises(DataError, match=f"birds/{part}/wren: .*/train has no pictures of this"):
        load("image_folder/birds", split, tmp_path)


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_a_validation_folder_comes_last_in_the_training_split(tmp_path: Path, name: str) -> None:
    write(tmp_path / "birds", "train/owl/1.png", "test/owl/2.png", f"{name}/owl/3.png")
    train, test = read(tmp_path)
    assert [path.name for path in files(train)] == ["1.png", "3.png"]
    assert (train.validation, test.validation, train.head(1).validation) == (1, 0, 0)
    assert [path.name for path in files(test)] == ["2.png"]


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "birds", "train/owl/1.png", "val/owl/2.png", "valid/owl/3.png")
    with pytest.raises(DataError, match="keep one"):
        load("image_folder/birds", "train", tmp_path)


def test_folders_that_look_like_splits_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "birds", "Training/owl/1.png", "Testing/owl/2.png")
    with pytest.raises(DataError, match="Testing, Training look like splits"):
        load("image_folder/birds", "train", tmp_path)


@pytest.mark.parametrize("part", ["test", "valid"])
def test_a_picture_in_two_splits_is_refused(tmp_path: Path, part: str) -> None:
    birds = tmp_path / "birds"
    write(birds, "train/owl/1.png", "train/owl/2.png", "test/owl/3.png", f"{part}/owl/4.png")
    shutil.copy(birds / "train/owl/2.png", birds / part / "owl/4.png")
    for split in ("train", "test"):
        with pytest.raises(DataError) as refused:
            load("image_folder/birds", split, tmp_path)
        assert f"{part}/owl/4.png" in str(refused.value)
        assert "train/owl/2.png" in str(refused.value)


def test_a_file_is_read_again_after_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    digests = set()
    for content, modified in ((b"one", None), (b"two", None), (b"six", 10**9), (b"ten", 2 * 10**9)):
        path.write_bytes(content)
        if modified:
            os.utime(path, ns=(modified, modified))
        digests.add(file_digest(path))
    assert len(digests) == 4
    path.write_bytes(b"new")
    os.utime(path, ns=(2 * 10**9, 2 * 10**9))
    assert file_digest(path) in digests, "an old file is not read twice"


# files that are no pictures


def test_hidden_files_and_folders_do_not_count(tmp_path: Path) -> None:
    birds = tmp_path / "birds"
    write(birds, "test/owl/1.png", "test/owl/deep/2.png", "test/.ipynb_checkpoints/1.png")
    write(birds, "test/__MACOSX/owl/1.png", "test/owl/.thumbnails/1.png")
    (birds / "test/owl/._1.png").write_bytes(b"resource fork")
    test = load("image_folder/birds", "test", tmp_path)
    assert test.classes == ("owl",)
    assert [path.name for path in files(test)] == ["1.png", "2.png"]


def test_data_in_a_hidden_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path / ".cache/birds", "test/owl/1.png")
    assert len(load("image_folder/birds", "test", tmp_path / ".cache")) == 1


def test_a_class_in_another_format_does_not_vanish(tmp_path: Path) -> None:
    write(tmp_path / "birds", "train/owl/1.png", "train/wren/2.tif", "test/owl/3.png")
    for split in ("train", "test"):
        with pytest.raises(DataError, match=r"train/wren: .*2\.tif; convert .*\.png"):
            load("image_folder/birds", split, tmp_path)
