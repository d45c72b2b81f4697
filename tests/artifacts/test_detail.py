"""Pictures with finer details, and longer ones, than the training pictures had."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from artifacts import InputPolicy
from artifacts.pictures import Picture
from artifacts.preprocessing import frame, prepare, prepare_and_tell


def noise(width: int, height: int) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_photograph_is_shrunk_to_the_detail_of_the_training_pictures_first() -> None:
    policy = InputPolicy(native_side=(128, 128), detail=32)
    picture = noise(500, 375)
    by_hand = Image.fromarray(picture).resize((43, 32), Image.Resampling.BICUBIC)
    expected = np.asarray(by_hand.resize(policy.target(500, 375), Image.Resampling.BICUBIC))
    told = prepare_and_tell(picture, policy)
    np.testing.assert_array_equal(told.picture, expected)
    assert told.treatment == "shrunk 500x375 -> 43x32, rescaled 43x32 -> 148x110"
    assert frame(told, policy) == (0, 0, 500, 375)
    sharp = prepare(picture, InputPolicy(native_side=(128, 128)))
    assert told.picture.std() < 0.5 * sharp.std()  # noise is nothing but detail


@pytest.mark.parametrize("size", [(32, 32), (32, 20), (8, 4096), (30, 31)])
def test_pictures_without_finer_detail_are_prepared_as_before(size: tuple[int, int]) -> None:
    picture = noise(*size)
    before = prepare(picture, InputPolicy(native_side=(128, 128)))
    after = prepare(picture, InputPolicy(native_side=(128, 128), detail=32))
    np.testing.assert_array_equal(after, before)


def test_a_picture_of_the_native_side_loses_its_detail_too() -> None:
    picture = noise(128, 128)
    shown = prepare(picture, InputPolicy(native_side=(128, 128), detail=32))
    assert shown.shape == picture.shape
    assert shown.std() < 0.5 * picture.std()


def test_an_enlarged_picture_is_shown_almost_as_the_small_one() -> None:
    random = np.random.default_rng(3)
    coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
    small = coarse.resize((32, 32), Image.Resampling.BICUBIC)
    policy = InputPolicy(native_side=(128, 128), detail=32)
    one, other = (
        prepare(np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)), policy)
        for side in (32, 200)
    )
    assert np.abs(one.astype(int) - other.astype(int)).mean() < 3


def test_long_pictures_are_squashed_to_the_greatest_aspect_ratio() -> None:
    policy = InputPolicy(native_side=(128, 128), detail=32, max_aspect=1.5)
    assert policy.target(32, 20) == (157, 105)
    assert policy.target(20, 32) == (105, 157)
    assert policy.target(4000, 100) == (157, 105)
    assert policy.target(40, 30) == InputPolicy(native_side=(128, 128)).target(40, 30)
    picture = noise(64, 16)
    whole = Image.fromarray(picture).resize((157, 105), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(prepare(picture, policy), np.asarray(whole))


@pytest.mark.parametrize("field", [{"detail": 32}, {"max_aspect": 1.5}])
@pytest.mark.parametrize("rest", [{}, {"native_side": (8, 8), "fixed_size": (8, 8)}])
def test_detail_and_aspect_ratio_are_for_pictures_that_are_rescaled(
    field: dict[str, float], rest: dict[str, tuple[int, int]]
) -> None:
    with pytest.raises(ValidationError, match="detail and max_aspect need a native_side"):
        InputPolicy.model_validate(field | rest)
