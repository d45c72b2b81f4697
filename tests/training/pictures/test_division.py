"""Divisions: nothing crosses, every class is everywhere, proportions hold, and tables are kept."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from artifacts import DataError
from artifacts.datasets import load
from artifacts.datasets.base import FileImages
from tests.pictures import photograph
from training.pictures.collection import Collection, Entry, read_collection
from training.pictures.division import SPLITS, Division, divide, read_table, write_table
from training.pictures.inspection import Inspected, Inspection, inspect


def inspection(
    labels: Sequence[str],
    duplicates: Sequence[tuple[int, ...]] = (),
    splits: Sequence[str | None] | None = None,
    groups: Sequence[str | None] | None = None,
) -> Inspection:
    """An inspection of pictures that need no files: picture n is `/all/n.png`."""
    entries = [
        Entry(
            Path(f"/all/{n:06}.png"),
            tuple(label.split("|")) if label else (),
            splits[n] if splits else None,
            groups[n] if groups else None,
        )
        for n, label in enumerate(labels)
    ]
    pictures = [
        Inspected(entry, 64, 64, f"{n:064x}", f"{n:016x}") for n, entry in enumerate(entries)
    ]
    collection = Collection(Path("/all"), tuple(entries), "table", ())
    return Inspection(collection, tuple(pictures), (), tuple(duplicates))


def split_of(division: Division) -> dict[int, str]:
    return {int(p.path.stem): p.split for p in division.pictures}


def total(division: Division, split: str) -> int:
    return sum(p.split == split for p in division.pictures)


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_every_class(seed: int) -> None:
    counts = {"a": 5, "b": 7, "c": 12, "d": 40, "e": 333}
    division = divide(inspection([c for c, n in counts.items() for _ in range(n)]), seed)
    test, validation, train = (division.counts(s) for s in ("test", "validation", "train"))
    assert test == {"a": 1, "b": 1, "c": 2, "d": 8, "e": 67}
    assert validation == {"a": 1, "b": 1, "c": 2, "d": 6, "e": 50}
    assert train == {c: n - test[c] - validation[c] for c, n in counts.items()}
    assert division.warnings == ()


def test_small_classes_are_trained_on_first() -> None:
    counts = {"one": 1, "two": 2, "three": 3, "four": 4, "many": 30}
    division = divide(inspection([c for c, n in counts.items() for _ in range(n)]), 0)
    assert division.counts("train") == {"one": 1, "two": 1, "three": 2, "four": 2, "many": 20}
    assert division.counts("test") == {"one": 0, "two": 1, "three": 1, "four": 1, "many": 6}
    assert division.counts("validation") == {"one": 0, "two": 0, "three": 0, "four": 1, "many": 4}
    validation, test = division.warnings
    assert validation.startswith("The split validation has no picture of these classes")
    assert validation.endswith("one, three, two.")
    assert test.endswith("there: one.")


@pytest.mark.parametrize("seed", range(10))
def test_near_duplicates_and_groups_stay_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(["a", "b", "c", "d"], 600, p=[0.6, 0.25, 0.1, 0.05]).tolist()
    duplicates = [tuple(range(n, n + 3)) for n in range(0, 150, 3)]
    groups = [f"g{random.integers(40)}" if 100 <= n < 400 else None for n in range(600)]
    division = divide(inspection(labels, duplicates, groups=groups), seed)
    splits = split_of(division)
    for group in duplicates:
        assert len({splits[n] for n in group}) == 1
    for name in set(groups) - {None}:
        assert len({splits[n] for n in range(600) if groups[n] == name}) == 1
    for split, share in (("test", 0.2), ("validation", 0.15)):
        for label, count in division.counts(split).items():
            assert abs(count - share * labels.count(label)) <= max(0.07 * labels.count(label), 3)
        assert min(division.counts(split).values()) >= 1


def test_units_have_names_and_single_pictures_have_none() -> None:
    division = divide(
        inspection(["a"] * 10 + ["b"] * 10, [(0, 1), (2, 12)], groups=[None] * 12 + ["p"] * 8), 0
    )
    names = {int(p.path.stem): p.group for p in division.pictures}
    assert names[0] == names[1] != ""
    assert names[2] == names[12] == names[19] == "p"
    assert names[5] == ""


def test_the_order_of_the_files_has_no_influence_and_seeds_have() -> None:
    labels = ["a"] * 100 + ["b"] * 60
    first = inspection(labels, [(0, 1, 120)])
    order = np.random.default_rng(0).permutation(160).tolist()
    place = {old: new for new, old in enumerate(order)}
    shuffled = Inspection(
        first.collection,
        tuple(first.pictures[old] for old in order),
        (),
        (tuple(sorted(place[n] for n in (0, 1, 120))),),
    )
    assert divide(first, 3).pictures == divide(shuffled, 3).pictures
    assert split_of(divide(first, 3)) != split_of(divide(first, 4))


@pytest.mark.parametrize("given", [("train", "test"), ("train", "validation"), ("train",), SPLITS])
def test_the_owners_splits_are_kept(tmp_path: Path, given: tuple[str, ...]) -> None:
    number = 0
    for split in given:
        for label in ("owl", "tit"):
            for n in range(20):
                path = tmp_path / split / label / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                photograph(16, 16, number).save(path)
                number += 1
    division = divide(inspect(read_collection(tmp_path)), 0)
    for picture in division.pictures:
        owner = picture.path.parts[-3]
        assert picture.split == owner or (owner == "train" and picture.split not in given)
    assert total(division, "test") == (40 if "test" in given else 8)
    assert total(division, "validation") == (40 if "validation" in given else 6)


def test_pictures_without_a_split_join_their_unit_or_are_trained_on(tmp_path: Path) -> None:
    words = ["train"] * 20 + ["test"] * 10 + [""] * 10
    people = [""] * 25 + ["p"] * 10 + [""] * 5
    rows = ["path,label,split,person"]
    for n, (split, person) in enumerate(zip(words, people, strict=True)):
        photograph(16, 16, n).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},{split},{person}")
    (tmp_path / "birds.csv").write_text("\n".join(rows))
    found = split_of(divide(inspect(read_collection(tmp_path / "birds.csv")), 0))
    assert {found[n] for n in range(20, 35)} == {"test"}
    assert {found[n] for n in range(35, 40)} <= {"train", "validation"}


def test_identical_files_in_two_of_the_owners_splits_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("train/a/1", "train/b/1", "test/a/1", "test/b/1")):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(16, 16, number).save(path)
    shutil.copy(tmp_path / "train/a/1.png", tmp_path / "test/a/1.png")
    found = inspect(read_collection(tmp_path))
    with pytest.raises(DataError, match=r"1\.png is the same picture as .*1\.png"):
        divide(found, 0)


def test_too_few_units_are_refused() -> None:
    with pytest.raises(DataError, match="so few groups that none is left for the split"):
        divide(inspection(["a", "b"] * 10, groups=["p"] * 20), 0)
    with pytest.raises(DataError, match="so few groups that none is left for the split validation"):
        divide(inspection(["a", "b"] * 2), 0)


@pytest.mark.parametrize("seed", range(5))
def test_rare_labels_of_many_are_in_all_splits(seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2, 0.05, 0.02])
    rows = random.random((800, 5)) < shares
    labels = ["|".join(np.array(list("abcde"))[row].tolist()) for row in rows]
    division = divide(inspection(labels), seed)
    for split, share in (("test", 0.2), ("validation", 0.15)):
        for column, count in enumerate(division.counts(split).values()):
            assert abs(count - share * rows[:, column].sum()) <= 2
        assert abs(total(division, split) - share * 800) <= 0.03 * 800


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "größe, 1"
    for number in range(24):
        path = folder / f"owl {'x' * (number % 2)}" / f"{number} 梟.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(16, 16, number).save(path)
    division = divide(inspect(read_collection(folder)), 0)
    inside, outside = folder / "pictures.csv", tmp_path / "runs" / "pictures.csv"
    outside.parent.mkdir()
    for table in (inside, outside):
        write_table(division, table)
        again = read_table(table)
        assert [p.path.absolute() for p in again.pictures] == [p.path for p in division.pictures]
        assert [p.sha256 for p in again.pictures] == [p.sha256 for p in division.pictures]
        train, test = load(f"table/{table}", "train"), load(f"table/{table}", "test")
        assert train.validation == total(division, "validation")
        assert len(train) - train.validation == total(division, "train")
        assert isinstance(test.images, FileImages)
        assert [p.absolute() for p in test.images.paths] == [
            p.path for p in division.pictures if p.split == "test"
        ]
    header, first = inside.read_text(encoding="utf-8").splitlines()[:2]
    assert header == "path,label,split,group,sha256"
    assert first.startswith("owl ")
    assert not first.startswith("/")
    assert outside.read_text(encoding="utf-8").splitlines()[1].startswith(f'"{folder}')
    assert [path.name for path in outside.parent.iterdir()] == ["pictures.csv"]


def test_several_labels_and_groups_are_written(tmp_path: Path) -> None:
    for n in range(12):
        photograph(16, 16, n).save(tmp_path / f"{n}.png")
    rows = [f"{n}.png,{'a|b' if n % 3 else 'a'},p{n // 2}" for n in range(12)]
    source = tmp_path / "birds.csv"
    source.write_text("\n".join(["file,labels,person", *rows]))
    division = divide(inspect(read_collection(source)), 0)
    write_table(division, tmp_path / "pictures.csv")
    assert read_table(tmp_path / "pictures.csv").pictures == division.pictures
    assert {p.group for p in division.pictures} == {f"p{n}" for n in range(6)}


def test_many_small_classes() -> None:
    counts = np.random.default_rng(0).integers(5, 30, 196)
    labels = [f"class {n}" for n, count in enumerate(counts) for _ in range(count)]
    division = divide(inspection(labels), 0)
    for split, share in (("test", 0.2), ("validation", 0.15)):
        assert min(division.counts(split).values()) >= 1
        assert abs(total(division, split) / len(labels) - share) < 0.015
