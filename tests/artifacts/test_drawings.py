"""Drawings are found on their sheets, and put where the digits of MNIST are."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from artifacts import InputPolicy
from artifacts.drawings import Drawing, NotFoundError, normalise
from artifacts.drawings.components import components
from artifacts.drawings.ink import ink_of
from artifacts.drawings.normalising import SIDE
from artifacts.pictures import Picture
from artifacts.preprocessing import frame, prepare, prepare_and_tell
from tests.pictures import photograph

PAPER, INK = (230, 226, 214), (40, 44, 60)
SEVEN = ((0.0, 0.0), (1.0, 0.0), (0.4, 1.0))
"""Corners of a seven, from 0 to 1 in both directions."""


def sheet(width: int, height: int, *boxes: tuple[int, int, int, int], pen: int = 0) -> Picture:
    """Draw a seven into each box (left, top, right, bottom, inclusive), dark on light."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in boxes:
        wide = pen or max(2, (bottom - top) // 8)
        inner = [
            (
                left + wide / 2 + x * (right - left - wide),
                top + wide / 2 + y * (bottom - top - wide),
            )
            for x, y in SEVEN
        ]
        draw.line(inner, INK, wide, joint="curve")
    return np.asarray(image)


def inked(picture: Picture) -> npt.NDArray[np.int64]:
    """Return the box of all dark pixels."""
    rows, columns = np.nonzero(picture[..., 0] < 128)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def lit(picture: Picture, least: float = 0.4) -> Picture:
    """Take light away, more and more from the upper left to the lower right."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    light = 1 - (1 - least) * (0.3 * x + 0.7 * y * y)
    return np.rint(picture * light[..., None]).astype(np.uint8)


def unlike(a: Picture, b: Picture) -> float:
    """Return the mean difference of two normalised drawings, relative to the ink of the first."""
    first, second = a.astype(float), b.astype(float)
    return float(np.abs(first - second).sum() / first.sum())


def centre(picture: Picture) -> npt.NDArray[np.float64]:
    """Return the centre of mass (x, y) of a normalised drawing, in px."""
    grey = picture[..., 0].astype(float)
    middles = np.arange(SIDE) + 0.5
    return np.array([grey.sum(0) @ middles, grey.sum(1) @ middles]) / grey.sum()


def flooded(mask: npt.NDArray[np.bool_]) -> list[tuple[tuple[int, int, int, int], int]]:
    """Find the boxes and the sizes of 8-connected components pixel by pixel."""
    left_over, found = set(map(tuple, np.argwhere(mask).tolist())), []
    while left_over:
        part, queue = [], [left_over.pop()]
        while queue:
            y, x = queue.pop()
            part.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left_over
            left_over -= near
            queue += near
        rows, columns = zip(*part, strict=True)
        box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
        found.append((box, len(part)))
    return sorted(found)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.9, 1.0])
def test_components_equal_those_found_pixel_by_pixel(share: float) -> None:
    random = np.random.default_rng(int(100 * share))
    for shape in ((1, 1), (7, 13), (40, 31)):
        mask = random.random(shape) < share
        boxes, weights = components(mask, np.ones(shape, np.float32))
        pairs = zip(boxes.tolist(), weights.tolist(), strict=True)
        assert sorted((tuple(box), weight) for box, weight in pairs) == flooded(mask)


def test_ink_is_the_share_of_light_that_is_missing_however_uneven_the_light() -> None:
    grey = np.full((60, 60), 200, np.float32)
    grey[20:40, 28:32] = 50
    ink, dark = ink_of(grey)
    assert dark
    np.testing.assert_allclose(ink[20:40, 28:32], 255 * (1 - 50 / 200), atol=1)
    assert ink[:15].max() < 1
    light = np.linspace(0.4, 1, 60, dtype=np.float32)
    uneven, dark = ink_of(grey * light)
    assert dark
    np.testing.assert_allclose(uneven[20:40, 28:32], 255 * (1 - 50 / 200), atol=8)
    bright, dark = ink_of(255 - grey)
    assert not dark
    np.testing.assert_allclose(bright[20:40, 28:32], 150, atol=1)


@pytest.mark.parametrize(("width", "height"), [(100, 140), (400, 300), (1200, 900), (4000, 3000)])
def test_a_drawing_is_found_where_it_is(width: int, height: int) -> None:
    box = (width // 10, height // 2, width // 10 + width // 8, height // 2 + height // 4)
    shown, drawing = normalise(sheet(width, height, box))
    place = inked(sheet(width, height, box))
    np.testing.assert_allclose(drawing.box, place, atol=max(2, width // 96))
    assert drawing.inverted
    assert not drawing.unchanged
    assert shown.shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(centre(shown), SIDE / 2, atol=0.2)
    ink = np.argwhere(shown[..., 0] > 64)
    high, wide = np.ptp(ink, axis=0) + 1
    assert 18 <= max(wide, high) <= 22
    expected = (place[2] - place[0]) / (place[3] - place[1])
    assert wide / high == pytest.approx(expected, abs=0.1)
    assert np.percentile(shown[shown > 128], 75) >= 250
    assert np.median(shown) == 0


def test_polarity_place_size_light_and_noise_make_little_difference() -> None:
    expected, _ = normalise(sheet(300, 300, (100, 80, 180, 220)))
    random = np.random.default_rng(0)
    plain = sheet(640, 480, (430, 50, 510, 190))
    noisy = plain + random.normal(0, 6, plain.shape)
    for picture in (
        plain,
        255 - plain,
        lit(plain),
        np.clip(np.rint(noisy), 0, 255).astype(np.uint8),
        sheet(1200, 1200, (900, 1000, 980, 1140)),
        np.asarray(Image.fromarray(plain).resize((320, 240), Image.Resampling.LANCZOS)),
    ):
        shown, drawing = normalise(picture)
        assert unlike(expected, shown) < 0.25
        assert drawing.inverted == (np.median(picture) > 100)
    other, _ = normalise(np.asarray(Image.fromarray(plain).transpose(Image.Transpose.ROTATE_90)))
    assert unlike(expected, other) > 0.8  # so that the bound above tells drawings apart


def test_specks_are_left_out_and_broken_strokes_are_not() -> None:
    box = (100, 80, 180, 220)
    clean, drawing = normalise(sheet(400, 400, box))
    dirty = sheet(400, 400, box).copy()
    dirty[350:354, 30:33] = INK
    dirty[20:22, 300:304] = INK
    shown, found = normalise(dirty)
    assert found == drawing
    np.testing.assert_array_equal(shown, clean)
    broken = sheet(400, 400, box).copy()
    broken[140:148] = PAPER
    assert normalise(broken)[1].box == drawing.box


def test_a_digit_as_in_mnist_stays_as_it_is() -> None:
    digit, _ = normalise(sheet(300, 300, (100, 80, 180, 220)))
    shown, drawing = normalise(digit)
    assert shown is digit
    assert drawing.unchanged
    moved = np.roll(digit, 3, axis=0)
    shown, drawing = normalise(moved)
    assert not drawing.unchanged
    assert unlike(digit, shown) < 0.25


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.full((200, 300, 3), 230, np.uint8), "no drawing found"),
        (np.zeros((28, 28, 3), np.uint8), "no drawing found"),
        (np.full((8, 4000, 3), 7, np.uint8), "no drawing found"),
        (lit(np.full((500, 400, 3), 230, np.uint8)), "no drawing found"),
        (
            np.random.default_rng(0).normal(200, 8, (300, 300, 3)).clip(0, 255).astype(np.uint8),
            "no drawing found",
        ),
        (sheet(400, 200, (40, 40, 100, 140), (240, 40, 300, 140)), "several drawings found"),
    ],
)
def test_a_picture_without_one_drawing_is_said_to_have_none(picture: Picture, reason: str) -> None:
    with pytest.raises(NotFoundError, match=reason):
        normalise(picture)
    told = prepare_and_tell(picture, InputPolicy(drawing="mnist"))
    assert told.picture is picture
    assert told.treatment == f"{reason}; shown as it is"


def test_no_picture_is_too_odd() -> None:
    random = np.random.default_rng(0)
    pictures = [np.asarray(photograph(*size)) for size in ((8, 8), (8, 4096), (4096, 8), (500, 9))]
    pictures += [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((8, 8), (193, 65))]
    pictures.append(np.tile(np.array([0, 255], np.uint8)[:, None, None], (100, 150, 3)))
    policy = InputPolicy(drawing="mnist", native_side=(28, 28))
    for picture in pictures:
        told = prepare_and_tell(picture, policy)
        assert told.picture.dtype == np.uint8
        assert told.picture.shape[:2] in {(28, 28), policy.target(*picture.shape[1::-1])[::-1]}


def test_what_is_told_is_what_was_done() -> None:
    picture = sheet(200, 300, (60, 40, 99, 119), pen=6)
    policy = InputPolicy(drawing="mnist")
    told = prepare_and_tell(picture, policy)
    shown, drawing = normalise(picture)
    assert isinstance(drawing, Drawing)
    left, top, right, bottom = drawing.box
    np.testing.assert_allclose(drawing.box, inked(picture), atol=1)
    assert told.treatment == (
        f"inverted, cropped to the drawing {right - left}x{bottom - top} at ({left}, {top}), "
        f"scaled to {drawing.size[0]}x20, centred"
    )
    assert told.size == (200, 300)
    np.testing.assert_array_equal(told.picture, shown)
    np.testing.assert_array_equal(prepare(picture, policy), shown)
    larger = prepare_and_tell(picture, InputPolicy(drawing="mnist", fixed_size=(32, 32)))
    assert larger.treatment == f"{told.treatment}, rescaled 28x28 -> 32x32"
    assert larger.picture.shape == (32, 32, 3)
    negative = prepare_and_tell(255 - picture, policy)
    assert negative.treatment.startswith("cropped to the drawing")
    kept = prepare_and_tell(shown, policy)
    assert kept.treatment == "shown as it is"
    none = prepare_and_tell(picture, InputPolicy())
    assert none.picture is picture
    assert none.treatment == "shown as it is"


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((200, 300), (60, 40, 99, 119)),
        ((1200, 900), (700, 150, 900, 500)),
        ((64, 64), (9, 9, 40, 60)),
    ],
)
def test_the_frame_is_what_the_normalised_picture_shows(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    picture, policy = sheet(*size, box), InputPolicy(drawing="mnist", fixed_size=(56, 56))
    told = prepare_and_tell(picture, policy)
    ink = Image.fromarray(255 - picture).convert("L")
    shown = ink.transform((56, 56), Image.Transform.EXTENT, frame(told, policy), fillcolor=25)
    pixels = np.stack([np.asarray(shown), told.picture[..., 0]]).reshape(2, -1)
    assert np.corrcoef(pixels)[0, 1] > 0.9
    moved = np.roll(told.picture[..., 0], 4, axis=1).ravel()
    assert np.corrcoef(pixels[0], moved)[0, 1] < 0.8


def test_policies_without_drawings_keep_their_bytes() -> None:
    assert "drawing" not in InputPolicy().model_dump(mode="json")
    policy = InputPolicy(drawing="mnist")
    assert InputPolicy.model_validate_json(policy.model_dump_json()) == policy
    with pytest.raises(ValueError, match="mnist"):
        InputPolicy.model_validate({"drawing": "emnist"})
