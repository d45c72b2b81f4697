from pathlib import Path

import pytest
import torch

from artifacts import DataError
from training.data import load_splits
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


def test_validation_can_be_the_first_of_each_class_or_the_last() -> None:
    data = Data("synthetic/objects", validation=50, validation_choice="first-of-class")
    splits = load_splits(data, 0)
    assert splits.validation.labels.bincount().tolist() == [5] * 10
    first = torch.from_numpy(splits.source.images[:50])  # type: ignore[arg-type]  # 10 classes in turn
    assert {bytes(p.numpy()) for p in splits.validation.images} == {bytes(p.numpy()) for p in first}
    last = load_splits(Data("synthetic/objects", validation=50, validation_choice="last"), 0)
    assert last.validation.images.equal(torch.from_numpy(splits.source.images[-50:]))  # type: ignore[arg-type]


@pytest.mark.parametrize("validation", [0, 1000])
def test_a_split_without_pictures_is_refused(validation: int) -> None:
    with pytest.raises(DataError, match="at least one"):
        load_splits(Data("synthetic/objects", validation=validation), 0)


def test_validation_can_be_whole_classes() -> None:
    data = Data("synthetic/objects", validation=150, validation_choice="classes")
    one, other = (load_splits(data, seed) for seed in (0, 1))
    assert len(one.validation) == 200, "150 pictures asked, 100 a class"
    assert set(one.train.labels.tolist()).isdisjoint(one.validation.labels.tolist())
    assert not one.validation.labels.equal(other.validation.labels)
    with pytest.raises(DataError, match="leave at least one"):
        load_splits(Data("synthetic/objects", validation=901, validation_choice="classes"), 0)


def test_missing_cars_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="stanford_cars"):
        load_splits(Data("stanford_cars", validation=10, size=(32, 32)), 0)
