"""The one implementation of the input policy, beside the libraries whose rules it follows."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize
from torchvision.transforms import functional as tv

from artifacts import InputPolicy
from artifacts.input_policy import Normalisation
from artifacts.pictures import Picture
from artifacts.preprocessing import network_input, prepare

SIZES = [
    *((w, h) for w in (8, 31, 100, 223, 224, 225, 257, 500) for h in (9, 100, 224, 255, 375)),
    (640, 480),
    (1333, 801),
    (4032, 3024),
]
"""Width and height, below and above every crop."""
MODES = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
    "box": InterpolationMode.BOX,
    "hamming": InterpolationMode.HAMMING,
}

OPENCV = [
    [[44, 81, 119], [207, 20, 57], [177, 214, 27], [115, 152, 189]],
    [[60, 97, 134], [222, 35, 72], [192, 229, 42], [130, 167, 204]],
    [[74, 111, 149], [87, 50, 87], [207, 95, 57], [145, 182, 113]],
]
"""What `cv2.resize(picture, (4, 3), interpolation=cv2.INTER_LINEAR)` of OpenCV 5.0.0 makes of the
picture in the test below."""


def noise(width: int, height: int) -> Picture:
    """Return noise, in which every pixel that is off by one in position shows."""
    random = np.random.default_rng(width * 10_000 + height)
    return random.integers(0, 256, (height, width, 3), np.uint8)


def crop(size: int, to: int, **fields: object) -> InputPolicy:
    """Return the policy that crops to a square of `size` px from a shorter side of `to` px."""
    return InputPolicy.model_validate(
        {"fixed_size": (size, size), "resize": "crop", "resize_to": to, **fields}
    )


@pytest.mark.parametrize(("size", "to"), [(224, 256), (224, 224), (24, 27), (48, 40)])
def test_crop_equals_torchvision_to_the_pixel(size: int, to: int) -> None:
    policy = crop(size, to, interpolation="bilinear")
    theirs = Compose([Resize(to), CenterCrop(size)])
    compared = 0
    for width, height in SIZES:
        picture = noise(width, height)
        if max(width, height) / min(width, height) * to**2 > 16 * size**2:
            continue  # too long, of which only the crop is computed; see below
        np.testing.assert_array_equal(
            prepare(picture, policy), np.asarray(theirs(Image.fromarray(picture)))
        )
        compared += 1
    assert compared > len(SIZES) // 2


@pytest.mark.parametrize("interpolation", MODES)
def test_every_interpolation_equals_torchvision(interpolation: str) -> None:
    picture = noise(333, 251)
    theirs = Compose([Resize(73, MODES[interpolation]), CenterCrop(64)])
    np.testing.assert_array_equal(
        prepare(picture, crop(64, 73, interpolation=interpolation)),
        np.asarray(theirs(Image.fromarray(picture))),
    )


def test_sizes_before_the_crop_are_those_of_torchvision() -> None:
    random = np.random.default_rng(0)
    for width, height in random.integers(8, 4097, (3000, 2)).tolist():
        for to in (232, 256, 342):
            theirs = tv._compute_resized_output_size((height, width), [to])
            assert crop(224, to).resized(width, height) == (theirs[1], theirs[0])


def test_crop_of_an_oblong_and_pad_equal_timm_to_the_pixel() -> None:
    box = (128, 96)  # height, width
    cropped = InputPolicy(
        fixed_size=(112, 84), resize="crop", resize_to=box, interpolation="bilinear"
    )
    padded = InputPolicy(
        fixed_size=box, resize="pad", pad_colour=(124, 116, 104), interpolation="bilinear"
    )
    for width, height in SIZES:
        image = Image.fromarray(noise(width, height))
        covering = ResizeKeepRatio(box, interpolation="bilinear")(image)
        if covering.width * covering.height <= 16 * 112 * 84:
            np.testing.assert_array_equal(
                prepare(np.asarray(image), cropped), np.asarray(CenterCrop((112, 84))(covering))
            )
        fitting = ResizeKeepRatio(box, longest=1.0, interpolation="bilinear")(image)
        theirs = CenterCropOrPad(box, fill=(124, 116, 104))(fitting)
        np.testing.assert_array_equal(prepare(np.asarray(image), padded), np.asarray(theirs))


def test_squash_before_a_crop_equals_torchvision() -> None:
    policy = InputPolicy(fixed_size=(24, 20), resize="squash", resize_to=(30, 29))
    theirs = Compose([Resize((30, 29), InterpolationMode.BICUBIC), CenterCrop((24, 20))])
    for width, height in SIZES:
        picture = noise(width, height)
        np.testing.assert_array_equal(
            prepare(picture, policy), np.asarray(theirs(Image.fromarray(picture)))
        )


def test_a_crop_may_start_at_the_lower_pixel() -> None:
    picture = noise(27, 24)  # 1.5 columns on each side: torchvision keeps 2 to 26, Keras 1 to 25
    for offset, start in (("round", 2), ("floor", 1)):
        shown = prepare(picture, crop(24, 24, crop_offset=offset))
        np.testing.assert_array_equal(shown, picture[:, start : start + 24])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(4096, 8), (8, 4096), (3000, 31)])
def test_only_the_middle_of_a_strip_is_resized(size: tuple[int, int], interpolation: str) -> None:
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (max(2, size[1] // 8), max(2, size[0] // 8), 3), np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize(size))
    theirs = Compose([Resize(256, MODES[interpolation]), CenterCrop(224)])
    ours = prepare(picture, crop(224, 256, interpolation=interpolation)).astype(int)
    difference = np.abs(ours - np.asarray(theirs(Image.fromarray(picture))).astype(int))
    assert difference.max() <= 2
    assert difference.mean() < 0.25  # a shift by one pixel gives 0.36 and more


@pytest.mark.parametrize("size", [(500, 375), (40, 30), (7, 5), (64, 64), (65, 63), (1, 1)])
def test_bilinear_without_antialiasing_equals_half_pixel_bilinear(size: tuple[int, int]) -> None:
    picture = noise(*size)
    policy = InputPolicy(fixed_size=(48, 64), interpolation="bilinear", antialias=False)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    theirs = F.interpolate(planes, size=(48, 64), mode="bilinear", antialias=False)[0]
    exact = theirs.permute(1, 2, 0).numpy()
    assert np.abs(prepare(picture, policy) - exact).max() <= 0.5 + 1e-4


def test_bilinear_without_antialiasing_equals_opencv_within_one() -> None:
    picture = (np.arange(7 * 5 * 3).reshape(5, 7, 3) * 37 % 256).astype(np.uint8)
    policy = InputPolicy(fixed_size=(3, 4), interpolation="bilinear", antialias=False)
    difference = np.abs(prepare(picture, policy).astype(int) - OPENCV)
    assert difference.max() <= 1


def test_only_the_crop_of_a_picture_is_interpolated_without_antialiasing() -> None:
    picture = noise(97, 61)
    fields = {"interpolation": "bilinear", "antialias": False}
    policy = crop(32, 40, **fields)
    width, height = policy.resized(97, 61)
    whole = prepare(picture, InputPolicy.model_validate({"fixed_size": (height, width), **fields}))
    left = round((width - 32) / 2)
    np.testing.assert_array_equal(prepare(picture, policy), whole[4:36, left : left + 32])


def test_padding_has_its_colour_and_the_picture_its_place() -> None:
    policy = InputPolicy(fixed_size=(64, 64), resize="pad", pad_colour=(114, 115, 116))
    shown = prepare(np.full((10, 20, 3), 7, np.uint8), policy)
    assert shown.shape == (64, 64, 3)
    assert (shown[16:48] == 7).all()
    assert (shown[:16] == (114, 115, 116)).all()
    assert (shown[48:] == (114, 115, 116)).all()


@pytest.mark.parametrize(
    "policy",
    [
        InputPolicy(),
        InputPolicy(native_side=(8, 64)),
        InputPolicy(fixed_size=(24, 32)),
        crop(24, 24),
        InputPolicy(fixed_size=(24, 32), resize="pad"),
    ],
)
def test_a_picture_that_needs_nothing_is_given_back(policy: InputPolicy) -> None:
    picture = noise(*((24, 24) if policy.resize == "crop" else (32, 24)))
    assert prepare(picture, policy) is picture


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"resize": "crop", "resize_to": 256}, "need a fixed_size"),
        ({"resize": "none", "fixed_size": (8, 8)}, "allows no fixed_size"),
        ({"resize_to": 8}, "resize_to needs the rule"),
        ({"fixed_size": (8, 8), "resize": "pad", "resize_to": 8}, "is for the rule crop"),
        ({"fixed_size": (8, 0)}, "greater than 0"),
        ({"antialias": False}, "bicubic needs antialias"),
        ({"pad_colour": (0, 0, 256)}, "less than or equal to 255"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(
    fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        InputPolicy.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "rgb needs 3"),
        ({"colour_order": "grey", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}, "grey needs 1"),
        ({"mean": (0.0,) * 3, "std": (1.0, 0.0, 1.0)}, "above 0"),
        ({"dtype": "uint8", "mean": (0.0,) * 3, "std": (1.0,) * 3}, "need scale 0..255"),
    ],
)
def test_a_normalisation_that_contradicts_itself_is_refused(
    fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Normalisation.model_validate(fields)


def test_network_input_equals_torchvision() -> None:
    picture = noise(31, 17)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = Normalize(mean, std)(tv.to_tensor(Image.fromarray(picture))).numpy()
    ours = network_input(picture[None], Normalisation(mean=mean, std=std))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)


def test_grey_equals_pillow_to_the_bit() -> None:
    picture = noise(300, 200)
    grey = Normalisation(
        colour_order="grey", scale="0..255", mean=(0.0,), std=(1.0,), layout="nhwc", dtype="uint8"
    )
    theirs = np.asarray(Image.fromarray(picture).convert("L"))
    np.testing.assert_array_equal(network_input(picture[None], grey)[0, ..., 0], theirs)


@pytest.mark.parametrize(
    ("scale", "black", "white"), [("0..1", 0, 1), ("0..255", 0, 255), ("-1..1", -1, 1)]
)
def test_scales_and_orders(scale: str, black: float, white: float) -> None:
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    normalisation = Normalisation.model_validate(
        {
            "colour_order": "bgr",
            "scale": scale,
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 2.0),
            "layout": "nhwc",
            "dtype": "float16",
        }
    )
    found: npt.NDArray[np.float16] = network_input(red, normalisation)
    assert found.dtype == np.float16
    assert found[0, 0, 0].tolist() == [black, black, white / 2]
