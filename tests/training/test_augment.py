import numpy as np
import torch
from PIL import Image

from training.augment import augment, cutout, flip, rescale, translate
from training.recipe import Augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 64, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator(9))


def test_flip_mirrors_the_chosen_only() -> None:
    images = pictures(2)
    flipped = flip(images, torch.tensor([True, False]))
    assert flipped[0].equal(images[0].flip(1))
    assert flipped[1].equal(images[1])


def test_alternating_flip_shows_both_sides_in_two_epochs() -> None:
    images, indices = pictures(), torch.arange(64)
    settings = Augment(flip="alternating")
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
    assert len(seen) > 40  # of 49 shifts


def test_cutout_covers_one_square_inside() -> None:
    images = torch.full((32, 16, 16, 3), 255, dtype=torch.uint8)
    covered = (cutout(images, 5, generator()) == 127).all(3)
    assert (covered.sum((1, 2)) == 25).all()
    assert ((covered.any(1).sum(1) == 5) & (covered.any(2).sum(1) == 5)).all()


def test_rescale_is_pillows_bicubic() -> None:
    smooth = rescale(pictures(1, 8), 64).round().to(torch.uint8)
    for side in (24, 40, 96):
        ours = rescale(smooth, side)[0].numpy()
        image = Image.fromarray(smooth[0].numpy())
        theirs = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32)
        assert np.abs(ours - theirs).max() <= 2  # Pillow rounds between its two passes


def test_augment_depends_on_the_generator_alone() -> None:
    settings = Augment(flip="random", translate=2, cutout=4, sides=(12, 20))
    images, indices = pictures(), torch.arange(64)
    one, two, other = (augment(images, indices, settings, generator(s), 0) for s in (1, 1, 2))
    assert one.equal(two)
    assert one.shape != other.shape or not one.equal(other)


def test_nothing_asked_nothing_done() -> None:
    images = pictures()
    assert augment(images, torch.arange(64), Augment(), generator(), 0) is images
