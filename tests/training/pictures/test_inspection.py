"""What an inspection of pictures finds, and the sentences that tell it."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from artifacts import DataError
from artifacts.progress import Progress
from tests.pictures import photograph
from training.pictures.collection import read_collection
from training.pictures.inspection import Inspection, inspect


def write(folder: Path, *names: str, first: int = 0, side: int = 64) -> None:
    for number, name in enumerate(names, first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(side, side, number).save(path)


def several(label: str, count: int) -> list[str]:
    return [f"{label}/{number}.png" for number in range(count)]


def look(folder: Path) -> Inspection:
    return inspect(read_collection(folder))


def test_sizes_hashes_and_counts(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 6), *several("tit", 5))
    found = look(tmp_path)
    assert found.counts == {"owl": 6, "tit": 5}
    assert found.classes == ("owl", "tit")
    first = found.pictures[0]
    content = (tmp_path / "owl/0.png").read_bytes()
    assert (first.width, first.height) == (64, 64)
    assert first.sha256 == hashlib.sha256(content).hexdigest()
    assert len(first.hash) == 16
    assert (found.unreadable, found.duplicates, found.alike, found.warnings()) == ((), (), (), [])


def test_pictures_of_every_kind_are_read(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 2))
    folder = tmp_path / "tit"
    folder.mkdir()
    colour = photograph(60, 40, 99)
    colour.convert("L").save(folder / "grey.png")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    deep = np.asarray(photograph(60, 40, 98).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    alpha = photograph(60, 40, 97)
    alpha.putalpha(128)
    alpha.save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(60, 40, 96).save(folder / "turned.jpg", exif=exif)
    found = look(tmp_path)
    assert found.unreadable == ()
    sizes = {p.entry.path.name: (p.width, p.height) for p in found.pictures[2:]}
    assert sizes.pop("turned.jpg") == (40, 60)
    assert set(sizes.values()) == {(60, 40)}
    assert len(sizes) == 4
    (group,) = found.duplicates
    names = {found.pictures[i].entry.path.name for i in group}
    assert names == {"grey.png", "cmyk.jpg"}, "one photograph in two forms"


def test_unreadable_files_are_named_and_skipped(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 6), *several("tit", 6))
    (tmp_path / "owl/0.png").write_bytes(b"")
    content = (tmp_path / "tit/5.png").read_bytes()
    (tmp_path / "tit/5.png").write_bytes(content[: len(content) // 2])
    found = look(tmp_path)
    assert [path.name for path, _ in found.unreadable] == ["0.png", "5.png"]
    assert found.counts == {"owl": 5, "tit": 5}
    (sentence,) = found.warnings()
    assert sentence.startswith("2 files cannot be read and will be left out: owl/0.png (not a read")
    assert "tit/5.png (" in sentence


def test_a_class_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 6))
    (tmp_path / "tit").mkdir()
    (tmp_path / "tit/1.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"no picture of the class 'tit' can be read; .*tit/1\.png"):
        look(tmp_path)


def test_files_that_are_left_out_are_told(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 5), *several("tit", 5), "loose.png")
    (tmp_path / "owl/9.tif").write_bytes(b"II*\0")
    formats, loose = look(tmp_path).warnings()
    assert formats.startswith("1 file in other formats will be left out: owl/9.tif. These are read")
    assert loose == "1 picture without a class will be left out: loose.png."


def test_copies_with_different_labels_are_suspect(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 6), *several("tit", 6))
    with Image.open(tmp_path / "owl/3.png") as image:
        image.save(tmp_path / "tit/3.jpg", quality=70)
    found = look(tmp_path)
    (group,) = found.duplicates
    assert [found.name(found.pictures[i].entry.path) for i in group] == ["owl/3.png", "tit/3.jpg"]
    (sentence,) = found.warnings()
    assert sentence == (
        "1 group of near-duplicates with different labels, one of which may be wrong: owl/3.png = "
        "tit/3.jpg."
    )


def test_copies_across_the_owners_splits_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train", *several("owl", 6), *several("tit", 6))
    write(tmp_path / "test", *several("owl", 6), *several("tit", 6), first=50)
    with Image.open(tmp_path / "train/owl/3.png") as image:
        image.save(tmp_path / "test/owl/3.jpg", quality=70)
    (sentence,) = look(tmp_path).warnings()
    assert sentence.startswith("1 group of near-duplicates in more than one of your splits")
    assert "test/owl/3.jpg = train/owl/3.png" in sentence


def test_small_and_unbalanced_classes_and_tiny_pictures_are_told(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 45), *several("tit", 4))
    write(tmp_path, "owl/tiny.png", first=70, side=20)
    few, unbalanced, tiny = look(tmp_path).warnings()
    assert few.startswith("1 class with fewer than 5 pictures")
    assert "tit (4)" in few
    assert unbalanced == "The largest class, owl, has 46 pictures and the smallest, tit, has 4."
    assert tiny == "1 picture smaller than 32 pixels: owl/tiny.png (20x20)."


def test_a_class_of_pictures_that_all_look_alike_can_still_be_divided(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 12))
    scene = np.asarray(photograph(64, 64, 200)).astype(np.int16)
    for number in range(12):
        noise = np.random.default_rng(number).integers(-3, 4, scene.shape)
        path = tmp_path / f"part/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((scene + noise).clip(0, 255).astype(np.uint8)).save(path)
    shutil.copy(tmp_path / "part/0.png", tmp_path / "part/copy.png")
    found = look(tmp_path)
    assert [len(group) for group in found.alike] == [13]
    assert [len(group) for group in found.duplicates] == [2]
    (sentence,) = found.warnings()
    assert "13 pictures like part/0.png" in sentence


def test_the_table_shows_classes_counts_and_sizes(tmp_path: Path) -> None:
    write(tmp_path, *several("owl", 3), *several("tit", 2))
    write(tmp_path, "tit/big.png", first=50, side=100)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(look(tmp_path).table())
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    assert lines[1:] == ["owl 3 64 64 64", "tit 3 64 64 100", "2 classes 6 64 64 100"]


def test_progress_is_reported_where_the_caller_wants_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *several("owl", 3), *several("tit", 3))
    with Progress("looking", shown=False) as progress:
        inspect(read_collection(tmp_path), progress)
    assert capfd.readouterr() == ("", "")
    look(tmp_path)
    out, err = capfd.readouterr()
    assert (out, "inspecting pictures" in err) == ("", True)
