"""Large JPEGs are decoded to no more pixels than the model needs."""

from collections.abc import Callable
from io import BytesIO
from unittest.mock import patch

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from artifacts import InputPolicy
from artifacts.pictures import ORIENTATION, upright_rgb
from artifacts.preprocessing import Prepared, prepare_and_tell
from serving.pictures.decode import read_prepared
from tests.pictures import encoded, photograph

NATIVE = InputPolicy(native_side=(32, 64))
CROP = InputPolicy(fixed_size=(40, 32), resize="crop", resize_to=48)
MEAN, MOST = 0.8, 8
"""Largest accepted difference of pixels to those of the picture that is decoded as a whole."""


def whole(content: bytes, policy: InputPolicy) -> Prepared:
    return prepare_and_tell(upright_rgb(Image.open(BytesIO(content))), policy)


@pytest.mark.parametrize(
    ("policy", "size", "reduction"),
    [
        (InputPolicy(), (4000, 3000), 1),
        (NATIVE, (64, 64), 1),
        (NATIVE, (383, 383), 1),
        (NATIVE, (384, 384), 2),
        (NATIVE, (768, 768), 4),
        (NATIVE, (1536, 1536), 8),
        (NATIVE, (4096, 4096), 8),
        (InputPolicy(native_side=(24, 32), detail=32), (800, 192), 2),
        (CROP, (288, 288), 2),
        (CROP, (287, 1000), 1),
        (InputPolicy(fixed_size=(40, 400), resize="squash"), (2000, 2000), 1),
        (InputPolicy(native_side=(32, 64), interpolation="nearest"), (1000, 1000), 1),
        (
            InputPolicy(native_side=(32, 64), interpolation="bilinear", antialias=False),
            (1000, 1000),
            1,
        ),
        (InputPolicy(fixed_size=(28, 28), drawing="mnist"), (1000, 1000), 1),
    ],
)
def test_a_picture_stays_several_times_as_large_as_needed(
    policy: InputPolicy, size: tuple[int, int], reduction: int
) -> None:
    assert policy.reduction(*size) == reduction


@pytest.mark.parametrize("policy", [NATIVE, CROP])
@pytest.mark.parametrize("size", [(1001, 799), (800, 803)])
@pytest.mark.parametrize("change", [None, "grey", "progressive", "turned"])
def test_the_pixels_are_nearly_those_of_the_whole(
    policy: InputPolicy, size: tuple[int, int], change: str | None
) -> None:
    picture = photograph(*size)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    content = encoded(
        picture.convert("L") if change == "grey" else picture,
        "JPEG",
        quality=90,
        progressive=change == "progressive",
        **({"exif": exif.tobytes()} if change == "turned" else {}),
    )
    (found,), expected = read_prepared([content], policy), whole(content, policy)
    assert policy.reduction(*expected.size) > 1
    assert found.size == expected.size == (size[::-1] if change == "turned" else size)
    assert found.treatment == expected.treatment
    difference = np.abs(found.picture.astype(int) - expected.picture.astype(int))
    assert difference.mean() <= MEAN
    assert difference.max() <= MOST


def test_the_decoder_is_asked_for_fewer_pixels() -> None:
    content = encoded(photograph(1600, 1200), "JPEG")
    with patch("simplejpeg.decode_jpeg", wraps=simplejpeg.decode_jpeg) as decoder:
        read_prepared([content], NATIVE)
    asked = decoder.call_args.kwargs
    assert (asked["min_width"], asked["min_height"]) == (400, 300)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) * 3 // 4] + b"\xff\xd9",
        lambda content: encoded(Image.open(BytesIO(content)).convert("CMYK"), "JPEG"),
        lambda content: encoded(Image.open(BytesIO(content)), "PNG"),
    ],
    ids=["damaged but tolerated", "CMYK", "PNG"],
)
def test_what_cannot_be_reduced_is_decoded_as_a_whole(spoil: Callable[[bytes], bytes]) -> None:
    content = spoil(encoded(photograph(1000, 800), "JPEG"))
    (found,), expected = read_prepared([content], NATIVE), whole(content, NATIVE)
    assert found.size == expected.size == (1000, 800)
    np.testing.assert_array_equal(found.picture, expected.picture)
