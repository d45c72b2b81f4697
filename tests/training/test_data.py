import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from artifacts import DataError
from artifacts.datasets import ImageSet, load
from training.data import as_array, hold_out, load_splits, load_test
from training.settings import Data


def test_splits_are_disjoint_complete_and_seeded() -> None:
    data = Data("synthetic/objects", validation=100)
    one, two, other = (load_splits(data, seed) for seed in (0, 0, 1))
    assert (len(one.train), len(one.validation)) == (900, 100)
    assert one.train.images.equal(two.train.images)
    assert not one.train.labels.equal(other.train.labels)
    both = torch.cat([one.train.images, one.validation.images]).flatten(1)
    whole = torch.from_numpy(one.source.images).flatten(1)  # type: ignore[arg-type]
    assert {bytes(row.numpy()) for row in both} == {bytes(row.numpy()) for row in whole}


def test_a_limit_leaves_validation_as_it_is() -> None:
    whole = load_splits(Data("synthetic/objects", validation=100), 0)
    few = load_splits(Data("synthetic/objects", validation=100, limit=90), 0)
    assert (len(few.train), len(few.validation)) == (90, 100)
    assert few.validation.images.equal(whole.validation.images)
    assert few.train.images[[0, -1]].equal(whole.train.images[[0, -1]])
    assert len(few.train.labels.unique()) == 10
    classes = few.classes
    assert len(load_test("synthetic/objects", classes, limit=90)) == 90
    assert load_test("synthetic/objects", classes, limit=10**6).labels.tolist() == (
        load_test("synthetic/objects", classes).labels.tolist()
    )


def test_validation_can_be_the_first_of_each_class_or_the_last() -> None:
    data = Data("synthetic/objects", validation=50, validation_choice="first-of-class")
    splits = load_splits(data, 0)
    assert splits.validation.labels.bincount().tolist() == [5] * 10
    first = torch.from_numpy(splits.source.images[:50])  # type: ignore[arg-type]  # 10 classes in turn
    assert {bytes(p.numpy()) for p in splits.validation.images} == {bytes(p.numpy()) for p in first}
    last = load_splits(Data("synthetic/objects", validation=50, validation_choice="last"), 0)
    assert last.validation.images.equal(torch.from_numpy(splits.source.images[-50:]))  # type: ignore[arg-type]


def test_fewer_validation_pictures_than_classes_are_refused() -> None:
    data = Data("synthetic/objects", validation=9, validation_choice="first-of-class")
    with pytest.raises(DataError, match="ask for 10 or more"):
        load_splits(data, 0)


@pytest.mark.parametrize("validation", [0, 1000])
def test_a_split_without_pictures_is_refused(validation: int) -> None:
    with pytest.raises(DataError, match="at least one"):
        load_splits(Data("synthetic/objects", validation=validation), 0)


def test_validation_can_be_whole_classes() -> None:
    data = Data("synthetic/objects", validation=150, validation_choice="classes")
    one, other = (load_splits(data, seed) for seed in (0, 1))
    assert len(one.validation) == 200, "150 pictures were requested and each class has 100"
    assert set(one.train.labels.tolist()).isdisjoint(one.validation.labels.tolist())
    assert not one.validation.labels.equal(other.validation.labels)
    with pytest.raises(DataError, match="leave at least one"):
        load_splits(Data("synthetic/objects", validation=901, validation_choice="classes"), 0)


def test_missing_cars_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="stanford_cars"):
        load_splits(Data("stanford_cars", validation=10, size=(32, 32)), 0)


class Slow(list[np.ndarray]):
    """Pictures that are slow to read and count how often they are read."""

    asked = 0

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        self.asked += 1
        time.sleep(0.05)
        return super().__getitem__(index)


def test_pictures_are_decoded_once_for_all_that_want_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = Slow([np.full((20, 30, 3), number, np.uint8) for number in range(5)])
    labels = np.zeros(5, np.int64)
    source = ImageSet("some", "train", ("one",), pictures, labels, "0" * 64)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda size: as_array(source, size), [(8, 8)] * 2))
    assert pictures.asked == 5
    for array in both:
        assert array[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def write_birds(root: Path, *names: str) -> None:
    """Write pictures under the folder `birds`, each of another grey."""
    for number, name in enumerate(names):
        path = root / "birds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, number, number)).save(path)


def test_a_validation_folder_is_what_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    names = ["train/owl/0", "train/wren/1", "val/owl/2", "val/wren/3", "test/owl/4"]
    write_birds(tmp_path, *(f"{name}.png" for name in names))
    splits = load_splits(Data("image_folder/birds", validation=814, size=(4, 4)), 0)
    assert splits.train.images[:, 0, 0, 0].tolist() == [0, 1]
    assert splits.validation.images[:, 0, 0, 0].tolist() == [2, 3]
    assert splits.validation.labels.tolist() == [0, 1]
    by_class = Data("image_folder/birds", validation=1, validation_choice="classes")
    with pytest.raises(DataError, match="move them to train"):
        hold_out(by_class, 0)


def test_the_test_split_has_the_classes_of_the_training_split() -> None:
    objects = load("synthetic/objects", "train").classes
    assert load_test("synthetic/objects", objects).classes == objects
    with pytest.raises(DataError, match="has 9 classes and the test split 10"):
        load_test("synthetic/objects", objects[:9])


def test_people_of_the_test_split_are_strangers() -> None:
    people = load("synthetic/people", "train").classes
    assert set(load_test("synthetic/people", people, strangers=True).classes).isdisjoint(people)
    objects = load("synthetic/objects", "train").classes
    with pytest.raises(DataError, match="Read them as faces/COLLECTION"):
        load_test("synthetic/objects", objects, strangers=True)
