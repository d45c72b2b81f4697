"""Tables in which a picture may have several labels."""

from pathlib import Path

import numpy as np
import pytest

from artifacts import DataError
from artifacts.datasets import load
from tests.pictures import encoded, photograph

SPLITS = ("train", "train", "validation", "test")


def write(folder: Path, labels: list[str]) -> str:
    """Write a table with a picture for each cell of labels, and return its name as a data set."""
    lines = ["path,label,split"]
    for i, (cell, split) in enumerate(zip(labels, SPLITS, strict=True)):
        (folder / f"{i}.png").write_bytes(encoded(photograph(20, 20, i)))
        lines.append(f"{i}.png,{cell},{split}")
    (folder / "pictures.csv").write_text("\n".join(lines) + "\n")
    return f"table/{folder}/pictures.csv"


def test_several_labels_make_a_multi_label_set(tmp_path: Path) -> None:
    name = write(tmp_path, ["dog|cat", "fish", "", "cat|cat"])
    train, test = load(name, "train"), load(name, "test")
    assert train.classes == test.classes == ("cat", "dog", "fish")
    assert train.multi_label
    assert test.multi_label, "its only picture has one label, but the table has several"
    assert train.labels.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert test.labels.tolist() == [[1, 0, 0]]
    assert (train.labels.dtype, train.validation) == (np.int64, 1)
    before = train.fingerprint
    assert load(write(tmp_path, ["dog|cat", "fish", "dog", "cat"]), "train").fingerprint != before


def test_one_label_each_stays_as_it_was_and_none_is_refused(tmp_path: Path) -> None:
    one = load(write(tmp_path, ["dog", "cat", "dog", "cat"]), "train")
    assert not one.multi_label
    assert one.labels.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="line 4: has no label"):
        load(write(tmp_path, ["dog", "cat", "", "cat"]), "train")


def test_a_class_that_is_not_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'bird'"):
        load(write(tmp_path, ["dog|cat", "fish", "", "cat|bird"]), "train")
