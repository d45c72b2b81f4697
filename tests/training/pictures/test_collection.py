"""Pictures and labels in folders and tables, and one clear line for everything that is wrong."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from artifacts import DataError
from training.pictures.collection import Collection, read_collection


def write(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".tif":
            path.write_bytes(b"II*\0")
        else:
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path)


def listed(collection: Collection) -> list[tuple[str, tuple[str, ...], str | None, str | None]]:
    return [
        (e.path.relative_to(collection.root).as_posix(), e.labels, e.split, e.group)
        for e in collection.entries
    ]


def refusal(source: Path) -> str:
    with pytest.raises(DataError) as refused:
        read_collection(source)
    message = str(refused.value)
    assert "\n" not in message
    assert str(source) in message
    return message


# folders


def test_a_folder_per_class(tmp_path: Path) -> None:
    write(tmp_path, "große Eule/a b.png", "große Eule/deep/2.png", "梟/1.JPG", "trains/1.png")
    found = read_collection(tmp_path)
    assert listed(found) == [
        ("große Eule/a b.png", ("große Eule",), None, None),
        ("große Eule/deep/2.png", ("große Eule",), None, None),
        ("trains/1.png", ("trains",), None, None),
        ("梟/1.JPG", ("梟",), None, None),
    ]
    assert (found.kind, found.others, found.multi_label) == ("folders", (), False)
    assert found.classes == ("große Eule", "trains", "梟")


def test_files_that_are_left_out_are_listed_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write(tmp_path, "owl/1.png", "owl/2.tif", "tit/1.png", "loose.png", "notes.tif")
    write(tmp_path, "owl/.ipynb_checkpoints/1.png", ".hidden/1.png", "__MACOSX/owl/1.png")
    for name in ("owl/._1.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"resource fork")
    found = read_collection(tmp_path)
    assert [path for path, *_ in listed(found)] == ["owl/1.png", "tit/1.png"]
    names = {path.relative_to(tmp_path).as_posix() for path in found.others}
    assert names == {"owl/2.tif", "loose.png", "notes.tif"}


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Valid", "Testing")])
def test_folders_of_splits(tmp_path: Path, names: tuple[str, str, str]) -> None:
    write(tmp_path, *(f"{split}/{label}/{split}.png" for split in names for label in ("a", "b")))
    write(tmp_path, f"{names[2]}/a/2.tif", "readme.tif")
    found = read_collection(tmp_path)
    assert found.kind == "splits"
    splits = {name: split for name, _, split, _ in listed(found)}
    words = ("train", "validation", "test")
    assert splits == {
        f"{folder}/{label}/{folder}.png": split
        for folder, split in zip(names, words, strict=True)
        for label in ("a", "b")
    }
    assert sorted(path.name for path in found.others) == ["2.tif", "readme.tif"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "bus/2.png")
    assert read_collection(tmp_path).classes == ("bus", "train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no pictures found. Expected one folder of pictures per class"),
        (("1.png", "2.png"), "no pictures found. Expected one folder of pictures per class"),
        (("owl/1.png",), "1 class found (owl); at least two are needed."),
        (("mine/owl/1.png", "mine/tit/1.png"), "mine, name that folder"),
        (("owl/1.png", "tit/1.tif"), "tit: none of its 1 files is in a format that is read"),
        (("train/1.png", "test/1.png"), "the folders test, train look like splits"),
        (("train/owl/1.png", "test/owl/1.png", "tit/1.png"), "test holds a split and tit does not"),
        (("test/owl/1.png", "test/tit/1.png"), "has a folder test but none called train"),
        (("train/a/1.png", "val/a/1.png", "valid/a/1.png"), "val and valid hold the same split"),
        (
            ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"),
            "test/c/1.png: the split train has no picture of the class 'c'",
        ),
        (
            ("train/a/1.png", "train/b/1.png", "test/1.png"),
            "train holds a split and test does not",
        ),
        (("a|b/1.png", "c/1.png"), "a|b: | separates labels in tables; rename the folder"),
    ],
)
def test_a_wrong_folder_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    source = tmp_path / "birds"
    source.mkdir()
    write(source, *names)
    assert message in refusal(source)


def test_an_empty_folder_of_a_class_or_of_a_split_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "owl/1.png", "tit/1.png")
    (tmp_path / "wren").mkdir()
    assert "wren: the folder is empty; add pictures, or remove it" in refusal(tmp_path)
    write(tmp_path / "b", "train/owl/1.png", "train/tit/1.png")
    (tmp_path / "b/test/owl").mkdir(parents=True)
    assert "test: no pictures found" in refusal(tmp_path / "b")


def test_a_source_that_does_not_exist_or_is_no_collection_is_refused(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    assert f"did you mean {tmp_path}/birds?" in refusal(tmp_path / "brids")
    assert "no such folder or table; check the name" in refusal(tmp_path / "x" / "y")
    (tmp_path / "birds.zip").write_bytes(b"PK")
    assert "unpack an archive first" in refusal(tmp_path / "birds.zip")


# tables


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_metadata_beside_the_pictures(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, "images/1.png", "images/2.png", "left.png")
    rows = [
        {"file_name": "images/1.png", "label": "owl", "text": "an owl"},
        {"file_name": "images/2.png", "label": "tit", "text": "a tit"},
    ]
    path = tmp_path / f"metadata.{suffix}"
    if suffix == "csv":
        path.write_text("\n".join([",".join(rows[0]), *(",".join(r.values()) for r in rows)]))
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    found = read_collection(tmp_path)
    assert listed(found) == [
        ("images/1.png", ("owl",), None, None),
        ("images/2.png", ("tit",), None, None),
    ]
    assert (found.kind, found.others) == ("metadata", (tmp_path / "left.png",))


def test_metadata_in_each_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path, f"{split}/1.png", f"{split}/2.png")
        text = "file_name,label\n1.png,owl\n2.png,tit\n"
        (tmp_path / split / "metadata.csv").write_text(text)
    found = read_collection(tmp_path)
    assert sorted((name, split) for name, _, split, _ in listed(found)) == [
        ("test/1.png", "test"),
        ("test/2.png", "test"),
        ("train/1.png", "train"),
        ("train/2.png", "train"),
    ]


@pytest.mark.parametrize("path", ["path", "File_Name", "filename", "IMAGE", "file"])
@pytest.mark.parametrize("label", ["label", "Labels", "class", "category", "target"])
def test_columns_have_several_names(tmp_path: Path, path: str, label: str) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    table = tmp_path / "birds.csv"
    table.write_text(
        f"{label},Patient,{path},split\nowl,p1,1.png,Training\ntit,,2.png,\ntit,p2,3.png,dev\n"
    )
    found = read_collection(table)
    assert listed(found) == [
        ("1.png", ("owl",), "train", "p1"),
        ("2.png", ("tit",), None, None),
        ("3.png", ("tit",), "validation", "p2"),
    ]
    assert found.kind == "table"


def test_several_labels_stand_in_one_cell(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    table = tmp_path / "birds.csv"
    table.write_text("path,label\n1.png,owl | tit|owl\n2.png,\n3.png,tit\n")
    found = read_collection(table)
    assert [labels for _, labels, *_ in listed(found)] == [("owl", "tit"), (), ("tit",)]
    assert found.multi_label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "the table has no rows"),
        ("path,file,label\n1.png,1.png,a\n", "path and file may each be the column of files"),
        ("path,label,Class\n1.png,a,b\n", "label and Class may each be the column of labels"),
        ("path,label,person,group\n1.png,a,b,c\n", "person and group may each be the column of gr"),
        (
            "path,labelx\n1.png,a\n",
            "no column of labels (called label, labels, class, category, ta",
        ),
        ("path,labelx\n1.png,a\n", "is it 'labelx'? Rename it. There are: path, labelx."),
        ("name,label\n1.png,a\n", "no column of files (called path, file_name, filename, image, f"),
        ("path,label\n1.png,a\n2.png,\n", "line 3: has no label; add one, or remove the row"),
        ("path,label\n1.png,a\n9.png,b\n", "line 3: there is no file"),
        ("path,label\n1.png,a\n\n1.png,b\n", "line 4: names"),
        ("path,label,split\n1.png,a,x\n", "line 2: the split 'x' is unknown; there are: train, t"),
        ("path,label,split\n1.png,a,test\n2.png,b,val\n", "no picture has the split train"),
        ("path,label\n1.png,a\n2.png,a\n", "1 class found (a); at least two are needed."),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "1.png", "2.png")
    table = tmp_path / "birds.csv"
    table.write_text(text)
    with pytest.raises(DataError) as refused:
        read_collection(table)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_is_decoded(tmp_path: Path) -> None:
    for name in ("owl/1.png", "tit/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"no picture")
    assert len(read_collection(tmp_path).entries) == 2
