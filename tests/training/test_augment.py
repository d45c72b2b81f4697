from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from artifacts.preprocessing import prepare
from training.augment import (
    affine,
    augment,
    cutout,
    flip,
    grey,
    jitter,
    rescale,
    rescale_as_served,
    stroke,
    translate,
)
from training.recipe import Recipe
from training.settings import Augment, Data, Network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe(augment: Augment, native_side: tuple[int, int] | None = None) -> Recipe:
    data, network = Data("synthetic/objects", validation=1), Network("ladder")
    return Recipe(
        "x", "x", data, network, epochs=1, batch_size=1, augment=augment, native_side=native_side
    )


def pictures(count: int = 64, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator(9))


def test_flip_mirrors_the_chosen_only() -> None:
    images = pictures(2)
    flipped = flip(images, torch.tensor([True, False]))
    assert flipped[0].equal(images[0].flip(1))
    assert flipped[1].equal(images[1])


def test_alternating_flip_shows_both_sides_in_two_epochs() -> None:
    images, indices = pictures(), torch.arange(64)
    settings = recipe(Augment(flip="alternating"))
    first, second, third = (
        augment(images, indices, settings, generator(), epoch) for epoch in range(3)
    )
    assert first.flip(2).equal(second)
    assert first.equal(third)
    mirrored = (first != images).flatten(1).any(1)
    assert 16 < mirrored.sum() < 48


def test_translate_shifts_with_reflected_borders() -> None:
    images = pictures(200, 16)
    moved = translate(images, 3, generator())
    padded = np.pad(images.numpy(), ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    seen = set()
    for before, after in zip(padded, moved.numpy(), strict=True):
        found = [
            (dy, dx)
            for dy in range(7)
            for dx in range(7)
            if np.array_equal(before[dy : dy + 16, dx : dx + 16], after)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 40  # of 49 possible shifts


def test_cutout_covers_one_square_inside() -> None:
    images = torch.full((32, 16, 16, 3), 255, dtype=torch.uint8)
    covered = (cutout(images, 5, generator()) == 127).all(3)
    assert (covered.sum((1, 2)) == 25).all()
    assert ((covered.any(1).sum(1) == 5) & (covered.any(2).sum(1) == 5)).all()


def test_rescale_is_pillows_bicubic() -> None:
    smooth = rescale(pictures(1, 8), 64, 64)
    assert smooth.dtype == torch.uint8
    for side in (24, 40, 96):
        image = Image.fromarray(smooth[0].numpy())
        theirs = np.asarray(image.resize((side, 30), Image.Resampling.BICUBIC), np.float32)
        for pixels in (smooth, smooth.float()):
            ours = rescale(pixels, side, 30)
            assert ours.dtype == pixels.dtype
            # Pillow rounds between its two passes
            assert np.abs(ours[0].numpy().astype(np.float32) - theirs).max() <= 2


@pytest.mark.parametrize(
    "policy",
    [
        {"native_side": (16, 24)},
        {"native_side": (16, 24), "interpolation": "bilinear"},
        {"native_side": (32, 32), "detail": 16, "max_aspect": 1.5},
        {"fixed_size": (20, 33)},
        {},
    ],
)
def test_training_rescales_as_serving_does(policy: dict[str, Any]) -> None:
    settings = replace(recipe(Augment()), **policy)
    for height, width in ((64, 48), (9, 30), (20, 20)):
        images = rescale(pictures(3, 8), width, height)
        ours = rescale_as_served(images, settings.policy)
        theirs = np.stack([prepare(image, settings.policy) for image in images.numpy()])
        assert ours.shape == theirs.shape
        assert np.abs(ours.numpy().astype(int) - theirs).max() <= 2  # as above


def test_early_epochs_are_small() -> None:
    settings = replace(recipe(Augment(early=0.5, early_side=12, sizes=("16x16",))), epochs=4)
    images, indices = pictures(), torch.arange(64)
    sides = [
        augment(images, indices, settings, generator(), epoch).shape[1:3] for epoch in range(4)
    ]
    assert sides == [(12, 12), (12, 12), (16, 16), (16, 16)]


def test_augment_depends_on_the_generator_alone() -> None:
    settings = recipe(Augment(flip="random", translate=2, cutout=4, jitter=0.2, rotate=9))
    images, indices = pictures(), torch.arange(64)
    one, two, other = (augment(images, indices, settings, generator(s), 0) for s in (1, 1, 2))
    assert one.equal(two)
    assert not one.equal(other)


def test_no_augmentation_changes_nothing() -> None:
    images = pictures()
    assert augment(images, torch.arange(64), recipe(Augment()), generator(), 0) is images


def test_sizes_are_shown_as_the_served_model_would() -> None:
    settings = recipe(Augment(sizes=("32x20",)), native_side=(32, 32))
    images = augment(pictures(4, 32), torch.arange(4), settings, generator(), 0)
    assert images.shape == (4, 25, 40, 3)


def test_jitter_keeps_grey_grey_and_black_black() -> None:
    grey = pictures(8)[..., :1].expand(-1, -1, -1, 3)
    changed = jitter(grey, 0.25, generator())
    assert (changed.amax(3) - changed.amin(3)).max() < 0.01
    assert changed.unflatten(0, (8, 1)).std() > 0
    assert jitter(torch.zeros(4, 8, 8, 3), 0.25, generator()).abs().max() == 0
    brightness = jitter(torch.full((500, 8, 8, 3), 100.0), 0.25, generator()).mean((1, 2, 3))
    assert 75 <= brightness.min() < 80
    assert 120 < brightness.max() <= 125


def test_a_share_of_the_pictures_loses_its_colours() -> None:
    images = pictures(400)
    changed = grey(images, 0.25, generator())
    without = (changed.amax(3) - changed.amin(3)).amax((1, 2)) < 0.01
    assert 0.18 < without.float().mean() < 0.32
    assert changed[~without].equal(images[~without].float())
    luma = images[without].float() @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(changed[without][..., 0], luma)


def test_affine_without_chance_is_the_identity() -> None:
    images = pictures()
    still = affine(images, Augment(scale=(1.0, 1.0)), generator())
    assert (still - images.float()).abs().max() < 1e-2


def test_affine_magnifies_and_shifts() -> None:
    images = torch.zeros(100, 33, 33, 3)
    images[:, 16, 16] = 255  # one dot in the middle
    dots = affine(images, Augment(shift=0.1), generator()).sum(3)
    places = torch.stack([dots.sum(2).argmax(1), dots.sum(1).argmax(1)])
    assert places.min() == 13
    assert places.max() == 19
    square = torch.zeros(50, 33, 33, 3)
    square[:, 11:22, 11:22] = 255
    areas = affine(square, Augment(scale=(0.5, 2.0)), generator()).mean(3).sum((1, 2)) / 255
    assert areas.min() < 0.4 * 121
    assert areas.max() > 3 * 121


def test_strokes_become_thicker_and_thinner_by_up_to_a_pixel_on_each_side() -> None:
    images = torch.zeros(200, 16, 16, 3, dtype=torch.uint8)
    images[:, 4:12, 6:10] = 200
    whole = stroke(images, 1.0, generator())
    assert whole.shape == images.shape
    assert (whole[:, 5:11, 7:9] == 200).all()  # what an erosion leaves
    assert (whole[:, :3] == 0).all()  # farther than a dilation reaches
    outer, inner = whole[:, 3, 5, 0], whole[:, 4, 6, 0]
    thicker = outer > 0
    assert 70 < thicker.sum() < 130
    assert (inner[thicker] == 200).all()
    assert (inner[~thicker] < 200).all()
    assert outer.max() > 180
    assert inner.min() < 20
    half = stroke(images, 0.5, generator())
    assert 80 < half[:, 3, 5, 0].max() <= 100
    assert 100 <= half[:, 4, 6, 0].min() < 120
