"""Data sets that a table lists, and what is wrong with a table."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from artifacts import DataError
from artifacts.datasets import load, parse
from artifacts.datasets.base import FileImages
from artifacts.datasets.rows import read_rows


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, 0.png to 5.png, whose red is their number."""
    for number in range(6):
        picture(tmp_path / "mine" / f"{number}.png", number)
    return tmp_path / "mine"


ROWS = """path,label,split
0.png,owl,train
1.png,tit,test
2.png,owl,validation
3.png,tit,train
4.png,owl,test
5.png,tit,validation
"""


def write(folder: Path, text: str, encoding: str = "utf-8") -> str:
    (folder / "pictures.csv").write_text(text, encoding=encoding)
    return f"table/{folder}/pictures.csv"


def reds(images: object) -> list[int]:
    assert isinstance(images, FileImages)
    return [int(images[i][0, 0, 0]) for i in range(len(images))]


def test_validation_pictures_come_last_in_the_training_split(folder: Path) -> None:
    name = write(folder, ROWS)
    train, test = load(name, "train"), load(name, "test")
    assert (reds(train.images), reds(test.images)) == ([0, 3, 2, 5], [1, 4])
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 0, 1], [1, 0])
    assert (train.validation, test.validation) == (2, 0)
    assert train.classes == test.classes == ("owl", "tit")
    assert train.labels.dtype == np.int64
    assert (train.name, train.split, train.divided) == (name, "train", False)
    assert train.fingerprint != test.fingerprint


@pytest.mark.parametrize("form", ["bom", "semicolons", "tabs", "jsonl", "parquet", "windows"])
def test_all_forms_of_a_table_are_the_same_data_set(folder: Path, form: str) -> None:
    expected = load(write(folder, ROWS), "train")
    lines = [line.split(",") for line in ROWS.split()]
    cells = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    path = folder / {"jsonl": "a.jsonl", "parquet": "a.parquet", "tabs": "a.tsv"}.get(form, "a.csv")
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist(cells), path)
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in cells) + "\n")
    elif form == "bom":
        path.write_text(ROWS, encoding="utf-8-sig")
    elif form == "windows":
        path.write_bytes(ROWS.replace("0.png", "..\\mine\\0.png").replace("\n", "\r\n").encode())
    else:
        path.write_text(ROWS.replace(",", {"semicolons": ";", "tabs": "\t"}[form]))
    found = load(f"table/{path}", "train")
    assert reds(found.images) == reds(expected.images)
    assert found.fingerprint == expected.fingerprint


def test_names_may_have_spaces_letters_of_any_script_and_commas(folder: Path) -> None:
    picture(folder / "Vögel, größere/梟 1.png", 9)
    name = write(folder, ROWS + '"Vögel, größere/梟 1.png",tit,train\n')
    assert reds(load(name, "train").images) == [0, 3, 9, 2, 5]


def test_a_table_is_found_in_the_data_folder_and_in_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, ROWS)
    assert len(load("table/mine/pictures.csv", "test", folder.parent)) == 2
    monkeypatch.chdir(folder)
    assert len(load("table/pictures.csv", "test", folder.parent)) == 2


def test_pictures_may_lie_anywhere(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "runs" / "pictures.csv"
    other.parent.mkdir()
    other.write_text(ROWS.replace("\n", f"\n{folder}/").removesuffix(f"{folder}/"))
    expected = load(write(folder, ROWS), "train")
    assert load(f"table/{other}", "train").fingerprint == expected.fingerprint


def test_a_name_may_have_colons(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "a:b")
    name = write(folder.parent / "a:b", ROWS)
    assert parse(f"{name}:train") == (name, "train")
    assert len(load(*parse(f"{name}:test"))) == 2


def test_the_fingerprint_changes_with_labels_and_pictures(folder: Path) -> None:
    prints = {load(write(folder, ROWS), "train").fingerprint}
    prints.add(load(write(folder, ROWS.replace("5.png,tit", "5.png,owl")), "train").fingerprint)
    changed = ROWS.replace("2.png,owl", "2.png,tit")
    prints.add(load(write(folder, changed), "train").fingerprint)
    picture(folder / "0.png", 77)
    prints.add(load(write(folder, ROWS), "train").fingerprint)
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("path,label", "path,labelx"), "column 'label' is missing; did you mean 'labelx'? Ren"),
        (("path,label,split", "path,label,x"), "column 'split' is missing; add it. There are: pa"),
        (("label,split", "path,split"), "two columns are called 'path'"),
        (("3.png", "7.png"), "line 5: there is no file"),
        (("3.png,", ","), "line 5: the column 'path' names no file"),
        (("3.png,", "0.png,"), "line 5: names"),
        (("3.png,tit", "3.png,"), "line 5: has no label"),
        (
            ("3.png,tit,train", "3.png,tit,trains"),
            "line 5: the split 'trains' is unknown; there are",
        ),
        (("3.png,tit,train", "3.png,tit,train,7"), "line 5: 4 cells, but the first line names 3"),
        (("3.png,tit,train\n", ""), "line 6: no row of the split train has the class 'tit'"),
        (("test", "train"), "no row has the split 'test'"),
        ((ROWS[17:], ""), "the table has no rows"),
    ],
)
def test_a_wrong_table_is_refused(folder: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(DataError) as refused:
        load(write(folder, ROWS.replace(*change)), "test")
    assert message in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_picture_in_two_splits_is_refused(folder: Path) -> None:
    shutil.copy(folder / "0.png", folder / "4.png")
    with pytest.raises(DataError, match=r"4\.png is the same picture as .*0\.png"):
        load(write(folder, ROWS), "train")


def test_a_changed_picture_is_refused(folder: Path) -> None:
    lines = ROWS.splitlines()
    digests = [
        hashlib.sha256((folder / line.split(",")[0]).read_bytes()).hexdigest() for line in lines[1:]
    ]
    rows = [f"{line},{digest}" for line, digest in zip(lines[1:], digests, strict=True)]
    name = write(folder, "\n".join([f"{lines[0]},sha256", *rows]))
    assert len(load(name, "test")) == 2
    picture(folder / "3.png", 200)
    with pytest.raises(DataError, match=r"line 5: .*3\.png is not the file"):
        load(name, "test")


def test_a_table_that_is_no_table_is_refused(folder: Path) -> None:
    for name, content, message in (
        ("missing.csv", None, "cannot be read"),
        ("latin.csv", "path,label,split\nä".encode("latin-1"), "cannot be read as CSV"),
        ("a.jsonl", b"{", "cannot be read as JSONL"),
        ("list.jsonl", b"[1]", "line 1: is no JSON object"),
        ("a.parquet", b"PAR1", "no readable Parquet"),
        ("a.xlsx", b"PK", "name ends in .csv, .tsv, .jsonl, .parquet"),
    ):
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(f"table/{folder / name}", "train")


def test_parquet_without_pyarrow_names_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write_table(pa.table({"path": ["0.png"]}), folder / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pyarrow, which is not installed; .*\[parquet\]"):
        read_rows(folder / "a.parquet")


def test_lists_become_several_labels_and_pictures_no_text(folder: Path) -> None:
    rows = [{"label": ["a", "b"], "image": {"bytes": b"x"}, "n": 3, "none": None}]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    expected = {"label": "a|b", "image": "", "n": "3", "none": ""}
    assert dict(read_rows(folder / "a.parquet").rows[0].cells) == expected
