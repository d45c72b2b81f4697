from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from artifacts.datasets import ImageSet, load
from artifacts.datasets.base import take
from training.augment import augment, surround
from training.data import Split
from training.inputs import Pictures, training_scenery, with_scenery
from training.recipe import Recipe
from training.scenery import (
    Framed,
    Invented,
    Photographs,
    continued,
    framed,
    mosaic,
    part,
    texture,
)
from training.settings import Augment, Data, Network

RED = (200, 10, 20)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> np.ndarray:
    return random(9).integers(0, 256, shape, dtype=np.uint8)


def crop(width: int = 40, height: int = 20) -> Image.Image:
    return Image.new("RGB", (width, height), RED)


def is_red(pixels: np.ndarray) -> np.ndarray:
    """Where a picture H x W x 3 has the colour of `crop`."""
    return (pixels == RED).all(axis=2)


@pytest.mark.parametrize(
    ("place", "corner"), [((0, 0), (0, 0)), ((1, 1), (10, 20)), ((0.5, 0.5), (5, 10))]
)
def test_a_crop_is_pasted_unchanged_at_its_place(
    place: tuple[float, float], corner: tuple[int, int]
) -> None:
    pixels = np.asarray(framed(crop(), Image.new("RGB", (60, 30)), place))
    expected = np.zeros((30, 60), bool)
    expected[corner[0] : corner[0] + 20, corner[1] : corner[1] + 40] = True
    assert (is_red(pixels) == expected).all()
    assert not pixels[~expected].any()


def test_a_soft_crop_fades_into_the_scenery() -> None:
    pixels = np.asarray(framed(crop(), Image.new("RGB", (60, 30)), (0.5, 0.5), 0.2))
    row = pixels[15, :, 0].astype(int)
    assert row[30] == RED[0]
    assert 0 < row[10] < row[12] < row[14] < RED[0]
    assert not row[:10].any()
    assert not row[50:].any()


def test_framed_pictures_have_the_margin_and_always_the_same_scenery() -> None:
    crops = [noise(20, 40, 3), noise(30, 30, 3)]
    pictures = Framed(crops, Photographs([noise(50, 70, 3)]), 0.5)
    assert [picture.shape for picture in pictures] == [(30, 60, 3), (45, 45, 3)]
    for picture, inside in zip(pictures, crops, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(picture, inside.shape)
        assert (windows == inside).all(axis=(-1, -2, -3)).sum() == 1
    assert (pictures[1] == pictures[1]).all()
    other = Framed(crops, Photographs([noise(50, 70, 3)]), 0.5, seed=1)
    assert (pictures[1] != other[1]).any()


def test_without_a_margin_pictures_stay_as_they_are() -> None:
    crops = [noise(20, 40, 3)]
    assert Framed(crops, Photographs(crops), 0.0)[0] is crops[0]


def test_a_share_of_the_pictures_is_framed_with_margins_that_vary() -> None:
    crops = noise(200, 20, 40, 3)
    pictures = Framed(crops, Photographs(crops), 1.0, share=0.6, varied=True)
    sides = {picture.shape[:2] for picture in pictures}
    alone = [i for i, picture in enumerate(pictures) if picture.shape == crops.shape[1:]]
    assert 50 < len(alone) < 110
    assert (pictures[alone[0]] == crops[alone[0]]).all()
    assert len(sides) > 10
    assert max(sides) <= (40, 80)


def test_pictures_are_shown_again_as_training_frames_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = ImageSet(
        name="other",
        split="train",
        images=noise(9, 50, 70, 3),
        labels=np.zeros(9, int),
        fingerprint="",
        classes=("x",),
    )
    monkeypatch.setattr("training.inputs.load_or_download", lambda _name, _split: source)
    crops = noise(20, 20, 40, 3)
    assert with_scenery(crops, Augment()) is None
    done = with_scenery(crops, Augment(framed=1.0, margin=0.5, scenery="other"))
    assert done is not None
    assert max(picture.shape[0] for picture in done) > 20
    some = take(done, np.array([7, 3]))
    assert [picture.shape for picture in some] == [done[7].shape, done[3].shape]


@pytest.mark.parametrize("size", [(64, 48), (30, 90), (257, 143)])
def test_scenery_has_the_size_asked_for(size: tuple[int, int]) -> None:
    pictures, inside = [noise(32, 32, 3), noise(20, 60, 3)], crop(size[0] // 2, size[1] // 2)
    invented = Invented(pictures, pictures)
    drawn = [invented.draw(inside, size, random(seed)) for seed in range(20)]
    drawn += [part(pictures[0], size, random()), mosaic(pictures, size, random())]
    drawn += [texture(size, random()), continued(inside, size, random())]
    assert {(each.size, each.mode) for each in drawn} == {(size, "RGB")}


def test_parts_of_photographs_stay_within_them() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    picture[..., 0] = np.arange(50)
    shown = [np.asarray(part(picture, (40, 20), random(seed)))[0, :, 0] for seed in range(50)]
    for row in shown:
        assert 0.3 < (int(row.max()) - int(row.min())) / 49 <= 1  # zoomed three times at most
    rising = sum(row[0] < row[-1] for row in shown)
    assert 10 < rising < 40  # the others are mirrored


def test_a_continued_border_has_the_colours_of_the_crop() -> None:
    assert is_red(np.asarray(continued(crop(), (90, 70), random()))).all()


def test_training_pictures_are_shrunk_into_scenery() -> None:
    images = torch.tensor(RED, dtype=torch.uint8).expand(32, 20, 40, 3)
    around = Photographs([np.zeros((10, 10, 3), np.uint8)])
    settings = Augment(framed=0.5, margin=1.0)
    result = surround(images, (80, 40), settings, around, generator())
    assert (result.shape, result.dtype) == ((32, 40, 80, 3), torch.uint8)
    shares = np.array([is_red(picture).mean() for picture in result.numpy()])
    assert 6 < (shares == 1).sum() < 26
    # a margin of 1 leaves half of each side, of which the height is flattened to 0.8 at most
    assert shares.min() > 0.8 / 4 * 0.8
    assert result.equal(surround(images, (80, 40), settings, around, generator()))
    assert not result.equal(surround(images, (80, 40), settings, around, generator(1)))


def recipe(settings: Augment) -> Recipe:
    data, network = Data("synthetic/cars", validation=1), Network("ladder")
    return Recipe("x", "x", data, network, epochs=1, batch_size=1, augment=settings)


def test_framing_follows_the_sizes_of_the_recipe() -> None:
    images = torch.from_numpy(noise(4, 20, 40, 3))
    around = Photographs([noise(30, 30, 3)])
    settings = Augment(framed=1.0, sizes=("60x30",))
    result = augment(images, torch.arange(4), recipe(settings), generator(), 0, around)
    assert result.shape == (4, 30, 60, 3)
    plain = augment(images, torch.arange(4), recipe(settings), generator(), 0)
    assert not plain.equal(result)


def test_the_scenery_leaves_out_the_classes_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 20, 30)])
    source = replace(
        load("synthetic/objects", "train"),
        images=pictures,
        labels=np.array([0, 1, 2]),
        classes=("cat", "automobile", "ship"),
    )

    def known(name: str, split: str) -> ImageSet:
        assert (name, split) == ("other", "train")
        return source

    monkeypatch.setattr("training.inputs.load_or_download", known)
    images = torch.from_numpy(noise(5, 8, 8, 3))
    split = Split(images, torch.zeros(5, dtype=torch.int64), images.numpy())
    settings = Augment(framed=1.0, scenery="other", scenery_without=("automobile",))
    around = training_scenery(split.images.numpy(), settings)
    assert [int(picture.max()) for picture in around.photographs] == [10, 30]
    assert Pictures(split, recipe(settings), torch.device("cpu")).scenery is not None
    assert Pictures(split, recipe(Augment()), torch.device("cpu")).scenery is None
