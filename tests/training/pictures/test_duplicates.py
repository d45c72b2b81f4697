"""Copies of a picture are found, and pictures that merely look alike are told apart."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from artifacts.datasets import load
from tests.pictures import photograph
from training.pictures.alignment import aligned, correlate, standardized
from training.pictures.duplicates import Look, look_at, near_duplicates

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": lambda image: jpeg(image, 50),
    "resized": lambda image: image.resize((image.width // 2, image.height // 2)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "trimmed": lambda image: image.crop((2, 3, image.width - 5, image.height - 4)),
}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def textured(seed: int) -> Image.Image:
    """A photograph with detail: smooth colours and edges at random places."""
    random = np.random.default_rng(seed)
    pixels = np.asarray(photograph(160, 120, seed)).astype(np.float32)
    for _ in range(12):
        y, x = random.integers(0, (100, 140))
        height, width = random.integers(8, 50, 2)
        pixels[y : y + height, x : x + width] += random.normal(0, 60, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def looks_at(images: list[Image.Image]) -> list[Look]:
    return [look_at(np.asarray(image), str(n).encode()) for n, image in enumerate(images)]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_other_pictures_are_not(change: str) -> None:
    originals = [textured(seed) for seed in range(200)]
    copies = [CHANGES[change](image) for image in originals[:50]]
    groups = near_duplicates(looks_at([*originals, *copies]))
    expected = {(n, 200 + n) for n in range(50)}
    assert set(groups) <= expected
    assert len(groups) >= (45 if change == "trimmed" else 50)


def test_copies_of_copies_are_one_group() -> None:
    original = textured(0)
    chain = [original, jpeg(original, 60), jpeg(original, 30), CHANGES["resized"](original)]
    assert near_duplicates(looks_at([*chain, textured(1)])) == [(0, 1, 2, 3)]


def test_identical_files_are_a_group_whatever_they_show() -> None:
    white = look_at(np.full((64, 64, 3), 255, np.uint8), b"white")
    other = look_at(np.full((64, 64, 3), 255, np.uint8), b"other")
    assert near_duplicates([white, other, white]) == [(0, 2)]
    assert near_duplicates([]) == []
    assert near_duplicates([white]) == []


@pytest.mark.parametrize("level", [3, 128, 255])
def test_nearly_plain_pictures_are_no_duplicates(level: int) -> None:
    random = np.random.default_rng(0)
    scans = [
        Image.fromarray(np.clip(level + random.normal(0, 4, (90, 70, 3)), 0, 255).astype(np.uint8))
        for _ in range(100)
    ]
    assert near_duplicates(looks_at(scans)) == []


def test_the_fit_undoes_a_shift_and_a_stretch() -> None:
    wide = np.asarray(textured(3).convert("L").resize((64, 64)))
    whole = np.asarray(Image.fromarray(wide).resize((32, 32), Image.Resampling.BOX))
    part = Image.fromarray(wide).resize((32, 32), Image.Resampling.BOX, box=(3, 3, 59, 62))
    ones, others = standardized(whole[None]), standardized(np.asarray(part)[None])
    assert correlate(ones, others)[0] < 0.95
    assert correlate(*aligned(ones, others))[0] > 0.98
    unrelated = standardized(np.asarray(textured(4).convert("L").resize((32, 32)))[None])
    assert correlate(*aligned(ones, unrelated))[0] < 0.9


@pytest.mark.data("MNIST")
def test_handwritten_digits_are_no_duplicates_of_one_another() -> None:
    digits = load("mnist", "test").head(5000)
    looks = [look_at(digits.images[i], str(i).encode()) for i in range(len(digits))]
    assert sum(map(len, near_duplicates(looks))) <= 10


@pytest.mark.data("stanford_cars")
def test_copies_of_photographs_are_found() -> None:
    cars = load("stanford_cars", "test").head(600)
    images = [Image.fromarray(cars.images[i]) for i in range(len(cars))]
    copies = [CHANGES[change](image) for image in images[:40] for change in CHANGES]
    groups = near_duplicates(looks_at([*images, *copies]))
    group_of = {member: group for group in groups for member in group}
    each = len(CHANGES)
    found = [
        n in group_of.get(len(images) + each * n + change, ())
        for n in range(40)
        for change in range(each)
    ]
    assert np.mean(found) >= 0.95
    originals = [[m for m in group if m < len(images)] for group in groups]
    assert sum(len(group) > 1 for group in originals) <= 3
