import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts import DataError
from artifacts.datasets import arrays as array_sets
from artifacts.datasets import data_root, load, parse
from artifacts.datasets.base import FileImages


def write_picture(
    path: Path, colour: tuple[int, int, int] = (9, 99, 199), **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path, **options)
    return path


# CIFAR-10


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test split of four pictures in the official format, taken for the official one."""
    data = np.arange(4 * 3072, dtype=np.uint32).astype(np.uint8).reshape(4, 3072)
    content = pickle.dumps({b"data": data, b"labels": [3, 1, 0, 9]}, protocol=2)
    path = root / "cifar-10-batches-py" / "test_batch"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(array_sets.CIFAR10_FILES, "test", {"test_batch": md5})
    return path


def test_cifar10_planes_become_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    cifar10 = load("cifar10", "test", tmp_path)
    assert cifar10.labels.tolist() == [3, 1, 0, 9]
    assert isinstance(cifar10.images, np.ndarray)
    assert cifar10.images.shape == (4, 32, 32, 3)
    # planes of 1024, rows of 32: pixel (row 2, column 5) of green
    assert cifar10.images[1, 2, 5, 1] == (3072 + 1024 + 2 * 32 + 5) % 256


def test_cifar10_with_a_changed_byte_is_refused_before_it_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_cifar10(tmp_path, monkeypatch)
    path.write_bytes(b"cos\nabort\n(tR." + path.read_bytes())  # would end this process
    with pytest.raises(DataError, match="test_batch: not the official CIFAR-10 file"):
        load("cifar10", "test", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "mnist", "stanford_cars", "image_folder/birds"])
def test_missing_data_says_what_to_put_where(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        load(name, "train", tmp_path)


# MNIST


def idx(values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


def write_mnist(root: Path, images: bytes, labels: bytes) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "t10k-images-idx3-ubyte").write_bytes(images)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(labels)


IMAGES = idx(np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28))
LABELS = idx(np.array([7, 2, 1], np.uint8))


def test_mnist_grey_is_copied_to_rgb(tmp_path: Path) -> None:
    write_mnist(tmp_path, IMAGES, LABELS)
    mnist = load("mnist", "test", tmp_path)
    assert mnist.labels.tolist() == [7, 2, 1]
    assert mnist.labels.dtype == np.int64
    assert isinstance(mnist.images, np.ndarray)
    assert mnist.images.shape == (3, 28, 28, 3)
    assert mnist.images[2, 1, 4].tolist() == [(2 * 784 + 28 + 4) % 256] * 3


@pytest.mark.parametrize(
    "images",
    [
        *(IMAGES[:end] for end in (0, 3, 4, 9, 16, -1)),
        IMAGES + b"\0",
        LABELS,
        gzip.compress(IMAGES),
        b"\0\0\x0d" + IMAGES[3:],
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_a_broken_idx_file_is_refused(tmp_path: Path, images: bytes) -> None:
    write_mnist(tmp_path, images, LABELS)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: not an unzipped IDX file"):
        load("mnist", "test", tmp_path)


def test_mnist_with_too_few_labels_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path, IMAGES, idx(np.array([7, 2], np.uint8)))
    with pytest.raises(DataError, match="3 pictures but 2 labels"):
        load("mnist", "test", tmp_path)


# folders


def test_image_folder_takes_a_folder_per_class(tmp_path: Path) -> None:
    for file in ("wren/b.PNG", "wren/deep/a.jpg", "owl/c.bmp"):
        write_picture(tmp_path / "birds/test" / file)
    (tmp_path / "birds/test/wren/notes.txt").write_text("not a picture")
    (tmp_path / "birds/test/empty").mkdir()
    birds = load("image_folder/birds", "test", tmp_path)
    assert birds.classes == ("owl", "wren")
    assert birds.labels.tolist() == [0, 1, 1]
    assert birds.images[0].shape == (10, 12, 3)
    assert birds.images[0][0, 0].tolist() == [9, 99, 199]


def test_image_folder_keeps_splits_apart(tmp_path: Path) -> None:
    write_picture(tmp_path / "birds/train/owl/1.png")
    write_picture(tmp_path / "birds/test/owl/2.png", colour=(10, 99, 199))
    train, test = (load("image_folder/birds", split, tmp_path) for split in ("train", "test"))
    assert isinstance(train.images, FileImages)
    assert [path.name for path in train.images.paths] == ["1.png"]
    assert train.fingerprint != test.fingerprint


def test_image_folder_with_one_split_has_no_other(tmp_path: Path) -> None:
    write_picture(tmp_path / "birds/test/owl/2.png")
    with pytest.raises(DataError, match="no pictures found"):
        load("image_folder/birds", "train", tmp_path)


def test_fingerprint_follows_content_and_names(tmp_path: Path) -> None:
    def fingerprint() -> str:
        return load("image_folder/birds", "test", tmp_path).fingerprint

    path = write_picture(tmp_path / "birds/test/owl/1.png")
    first = fingerprint()
    assert fingerprint() == first
    path = path.rename(path.with_name("2.png"))
    renamed = fingerprint()
    write_picture(path, colour=(10, 99, 199))
    assert len({first, renamed, fingerprint()}) == 3


def test_a_file_that_is_no_picture_is_named_when_decoded(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "birds/test/owl/1.png")
    path.write_bytes(path.read_bytes()[:40])
    birds = load("image_folder/birds", "test", tmp_path)
    with pytest.raises(DataError, match=r"1\.png: not a readable picture"):
        birds.images[0]


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # camera held on its side
    path = write_picture(tmp_path / "birds/owl/1.jpg", exif=exif)
    assert FileImages([path])[0].shape == (12, 10, 3)


def test_stanford_cars_needs_its_196_classes(tmp_path: Path) -> None:
    write_picture(tmp_path / "stanford_cars/test/Acura/1.png")
    with pytest.raises(DataError, match="1 classes; 196 are expected"):
        load("stanford_cars", "test", tmp_path)


def test_people_never_cross_the_splits_of_faces(tmp_path: Path) -> None:
    for number in range(40):
        write_picture(tmp_path / f"faces/family/person {number}/1.png")
        write_picture(tmp_path / f"faces/family/person {number}/2.png")
    train, test = (load("faces/family", split, tmp_path) for split in ("train", "test"))
    assert set(train.classes).isdisjoint(test.classes)
    assert len(train.classes) + len(test.classes) == 40
    assert 2 <= len(test.classes) <= 16
    for people in (train, test):
        assert people.labels.tolist() == sorted([*range(len(people.classes))] * 2)
        assert len(people.images) == len(people)
    assert train.fingerprint != test.fingerprint
    with pytest.raises(DataError, match="faces/friends"):
        load("faces/friends", "test", tmp_path)


def test_faces_need_people_in_each_split(tmp_path: Path) -> None:
    write_picture(tmp_path / "faces/family/ann/1.png")
    with pytest.raises(DataError, match="too few people"):
        load("faces/family", "test", tmp_path)


# synthetic


def test_names_and_splits_parse() -> None:
    assert parse("cifar10:train") == ("cifar10", "train")
    assert parse("image_folder/birds") == ("image_folder/birds", "test")


@pytest.mark.parametrize(
    "name",
    ["imagenet", "", "imagenet:test", "cifar10/birds", "faces", "faces/:test", "image_folder"],
)
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(DataError, match="is unknown; there are: cifar10"):
        parse(name)


def test_unknown_splits_and_kinds_are_refused() -> None:
    with pytest.raises(DataError, match="there are: train, test"):
        load("cifar10", "validation")
    with pytest.raises(DataError, match="there are: objects, digits"):
        load("synthetic/birds", "test")


def test_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DATA", "/elsewhere")
    assert data_root() == Path("/elsewhere")
    monkeypatch.setenv("VITRINE_DATA", "")
    assert data_root() == Path("data")


def test_head_is_drawn_evenly(tmp_path: Path) -> None:
    for number in range(9):
        write_picture(tmp_path / f"birds/test/{'owl' if number < 3 else 'wren'}/{number}.png")
    birds = load("image_folder/birds", "test", tmp_path)
    head = birds.head(3)
    assert isinstance(head.images, FileImages)
    assert [path.stem for path in head.images.paths] == ["0", "4", "8"]
    assert head.labels.tolist() == [0, 1, 1]
    assert birds.head(None) is birds
    assert birds.head(100) is birds
    assert len(load("synthetic", "test").head(7).images) == 7


# real data


@pytest.mark.data("cifar-10-batches-py")
def test_real_cifar10() -> None:
    test = load("cifar10", "test")
    assert np.asarray(test.images).shape == (10_000, 32, 32, 3)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    # channel means of the published training set lie near these
    assert np.asarray(test.images).mean(axis=(0, 1, 2)) == pytest.approx([126, 124, 114], abs=1.5)


@pytest.mark.data("MNIST")
def test_real_mnist() -> None:
    train, test = load("mnist", "train"), load("mnist", "test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.asarray(test.images).shape == (10_000, 28, 28, 3)


@pytest.mark.data("stanford_cars")
@pytest.mark.parametrize("split", ["train", "test"])
def test_real_stanford_cars(split: str) -> None:
    cars = load("stanford_cars", split)
    assert len(cars.classes) == 196
    assert set(cars.labels.tolist()) == set(range(196))
    assert cars.images[0].ndim == 3


@pytest.mark.data("faces")
def test_real_faces() -> None:
    collections = [path.name for path in (data_root() / "faces").iterdir() if path.is_dir()]
    assert collections
    for collection in collections:
        people = load(f"faces/{collection}", "test")
        assert len(people.classes) > 1
        assert people.images[0].shape[2] == 3
