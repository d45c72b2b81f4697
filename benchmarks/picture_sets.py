"""Small data sets, as folders of pictures, that `benchmarks.own_pictures` trains on."""

import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from artifacts.datasets import data_root, load

Drawn = Iterable[tuple[str, str, Path | Image.Image]]
"""Split, class, and a file or a picture."""
MAKER_TRAIN, MAKER_TEST = 40, 20
"""Maximum number of pictures of each maker of cars."""
MODELS = 20
SMALL_TEST = 100
"""Number of test pictures of each class of CIFAR-10 and MNIST."""
PEOPLE = 40
MIN_PICTURES = 28
"""Minimum number of pictures of each person."""
PERSON_TRAIN = 18


def make_set(name: str, folder: Path, seed: int) -> Path:
    """Write a data set as FOLDER/{train,test}/CLASS/PICTURE, unless it is there already.

    Args:
        name: One of `SETS`.
        folder: Folder to write.
        seed: Another seed draws other pictures or classes.
    """
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    drawn = list(SETS[name](random.Random(seed)))
    tested = {_content(picture) for split, _, picture in drawn if split == "test"}
    for number, (split, label, picture) in enumerate(drawn):
        if split == "train" and _content(picture) in tested:
            continue  # Stanford Cars has a few pictures in both of its splits
        own = partial / split / label
        own.mkdir(parents=True, exist_ok=True)
        if isinstance(picture, Path):
            shutil.copyfile(picture, own / f"{number:05}{picture.suffix}")
        else:
            picture.save(own / f"{number:05}.png")
    partial.rename(folder)
    return folder


def _content(picture: Path | Image.Image) -> bytes:
    return picture.read_bytes() if isinstance(picture, Path) else picture.tobytes()


def _car_makers(rng: random.Random) -> Drawn:
    """Draw pictures of cars by maker, which is the first word of the model's name."""
    for split, most in (("train", MAKER_TRAIN), ("test", MAKER_TEST)):
        makers: dict[str, list[Path]] = {}
        for model in _subfolders(data_root() / "stanford_cars" / split):
            makers.setdefault(model.name.split()[0], []).extend(sorted(model.iterdir()))
        for maker, files in makers.items():
            for file in rng.sample(files, min(most, len(files))):
                yield split, maker, file


def _car_models(rng: random.Random) -> Drawn:
    """Draw all pictures of some models of cars."""
    root = data_root() / "stanford_cars"
    names = [model.name for model in _subfolders(root / "train")]
    for name in sorted(rng.sample(names, MODELS)):
        for split in ("train", "test"):
            for file in sorted((root / split / name).iterdir()):
                yield split, name, file


def _objects(rng: random.Random) -> Drawn:
    """Draw 100 pictures of each class of CIFAR-10, enlarged to 64 px."""
    return _arrays("cifar10", 100, 64, rng)


def _digits(rng: random.Random) -> Drawn:
    """Draw 50 pictures of each class of MNIST."""
    return _arrays("mnist", 50, 28, rng)


def _arrays(name: str, each: int, side: int, rng: random.Random) -> Drawn:
    for split, count in (("train", each), ("test", SMALL_TEST)):
        source = load(name, split)
        for number, label in enumerate(source.classes):
            own: list[int] = np.flatnonzero(source.labels == number).tolist()
            for index in rng.sample(own, count):
                picture = Image.fromarray(source.images[index])
                yield split, label, picture.resize((side, side), Image.Resampling.BICUBIC)


def _people(rng: random.Random) -> Drawn:
    """Draw people with enough pictures."""
    root = data_root() / "faces" / "celeba"
    enough = [p for p in _subfolders(root) if len(list(p.iterdir())) >= MIN_PICTURES]
    for person in sorted(rng.sample(enough, PEOPLE)):
        files = sorted(person.iterdir())
        rng.shuffle(files)
        for number, file in enumerate(files):
            yield "train" if number < PERSON_TRAIN else "test", person.name, file


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


SETS: dict[str, Callable[[random.Random], Drawn]] = {
    "car makers": _car_makers,
    "car models": _car_models,
    "objects": _objects,
    "digits": _digits,
    "people": _people,
}
