import time
from unittest.mock import patch

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from artifacts import InputPolicy
from artifacts.pictures import ORIENTATION
from serving.pictures.decode import read_pictures
from serving.pictures.limits import MAX_SCAN_PIXELS, SCAN
from serving.problems import RequestError
from tests.pictures import bomb, encoded, photograph

POLICY = InputPolicy()


def read(content: bytes, policy: InputPolicy = POLICY) -> np.ndarray:
    return read_pictures([content], policy)[0]


def refusal(content: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_every_format_is_decoded(kind: str) -> None:
    picture = photograph(40, 30)
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read(encoded(picture, kind, **options)).astype(int)
    assert found.shape == (30, 40, 3)
    tolerance = {"JPEG": 40, "GIF": 60}.get(kind, 0)
    assert np.abs(found - np.asarray(picture).astype(int)).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    upright = photograph(40, 24)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(encoded(stored, exif=exif.tobytes())), np.asarray(upright))


def test_the_pixels_of_a_damaged_jpeg_are_looked_at_once_before_pillow_decides() -> None:
    content = encoded(photograph(200, 200), "JPEG")
    with patch.object(simplejpeg, "decode_jpeg", wraps=simplejpeg.decode_jpeg) as decoded:
        assert refusal(content[: len(content) // 2]).code == "damaged-picture"
    assert decoded.call_count == 1


def test_every_mode_becomes_rgb() -> None:
    picture = photograph(20, 20)
    grey = picture.convert("L")
    assert np.array_equal(read(encoded(grey)), np.asarray(grey.convert("RGB")))
    palette = picture.quantize(16)
    assert np.array_equal(read(encoded(palette)), np.asarray(palette.convert("RGB")))
    bits = picture.convert("1")
    assert np.array_equal(read(encoded(bits)), np.asarray(bits.convert("RGB")))
    for mode, colour in (("LA", (9, 0)), ("RGBA", (9, 9, 9, 0))):
        assert (read(encoded(Image.new(mode, (9, 9), colour))) == 255).all()
    cmyk = read(encoded(picture.convert("CMYK"), "JPEG", quality=95)).astype(int)
    assert np.abs(cmyk - np.asarray(picture).astype(int)).mean() < 10


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
    found = read(encoded(Image.fromarray(deep)))
    assert np.array_equal(found[..., 0], np.round(deep / 257).astype(np.uint8))
    assert (found[..., 0] == found[..., 2]).all()


def test_alpha_lies_over_white() -> None:
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert (read(encoded(clear)) == 255).all()
    half = Image.new("RGBA", (10, 10), (255, 0, 0, 128))
    assert (np.abs(read(encoded(half)).astype(int) - [255, 127, 127]) <= 1).all()
    palette = Image.new("P", (10, 10), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (read(encoded(palette, transparency=1)) == 255).all()
    keyed = Image.new("RGB", (10, 10), (1, 2, 3))
    assert (read(encoded(keyed, transparency=(1, 2, 3))) == 255).all()


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        content = encoded(first, kind, save_all=True, append_images=[second], **options)
        assert (read(content) == [255, 0, 0]).all()
    several = encoded(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(read(several).astype(int) - [255, 0, 0]).max() <= 4


def test_a_bomb_is_refused_undecoded() -> None:
    content = bomb(20_000)
    start = time.perf_counter()
    assert refusal(content).code == "picture-too-large"
    assert time.perf_counter() - start < 0.1


def test_a_jpeg_of_many_scans_is_refused_undecoded() -> None:
    content = encoded(photograph(1000, 1000), "JPEG", progressive=True)
    scans = SCAN.findall(content)
    assert 2 < len(scans) < 20
    assert read(content).shape == (1000, 1000, 3)
    last = content.rindex(b"\xff\xda")
    endless = content[:last] + content[last:-2] * (MAX_SCAN_PIXELS // 1_000_000) + b"\xff\xd9"
    assert refusal(endless).code == "too-many-scans"


def test_no_policy_takes_more_than_fifty_megapixels() -> None:
    with pytest.raises(RequestError, match="50 megapixels") as caught:
        read(bomb(7072), InputPolicy(accepted_side=(8, 30_000)))
    assert caught.value.code == "picture-too-large"


def test_a_picture_with_malformed_exif_is_taken_as_it_lies() -> None:
    picture = photograph(40, 24)
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"):
        assert read(encoded(picture, exif=exif)).shape == (24, 40, 3)
    exif = Image.Exif()
    for orientation in (0, 9, 65535):
        exif[ORIENTATION] = orientation
        assert read(encoded(picture, exif=exif.tobytes())).shape == (24, 40, 3)


def test_turning_upright_keeps_transparency() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    palette = Image.new("P", (12, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    found = read(encoded(palette, transparency=1, exif=exif.tobytes()))
    assert found.shape == (12, 8, 3)
    assert (found == 255).all()


def test_the_limit_is_on_all_pictures_together() -> None:
    content = bomb(2048)
    with pytest.raises(RequestError) as caught:
        read_pictures([content] * 16, POLICY)
    assert caught.value.code == "too-many-pixels"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_truncated_files_are_refused(kind: str) -> None:
    content = encoded(photograph(64, 64), kind)
    for length in range(1, len(content) - 64, len(content) // 12):
        assert refusal(content[:length]).code in {"unsupported-format", "damaged-picture"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "no-picture"),
        (b"just text", "unsupported-format"),
        (encoded(photograph(64, 64), "TIFF"), "unsupported-format"),
        (encoded(photograph(7, 40)), "picture-too-small"),
        (encoded(photograph(4097, 8)), "picture-too-large"),
    ],
)
def test_refusals_have_a_code(content: bytes, code: str) -> None:
    error = refusal(content)
    assert error.code == code
    assert error.picture == 0
    assert 400 <= error.status < 500


def test_the_models_limits_count() -> None:
    policy = InputPolicy(accepted_side=(8, 32))
    assert read(encoded(photograph(32, 8)), policy).shape == (8, 32, 3)
    with pytest.raises(RequestError, match="33x8; sides of 8 to 32 pixels"):
        read(encoded(photograph(33, 8)), policy)


def test_arrays_pass_and_are_held_to_the_same() -> None:
    picture = np.asarray(photograph(20, 10))
    assert read_pictures([picture], POLICY)[0] is picture
    with pytest.raises(RequestError, match="picture 1: an array of float32"):
        read_pictures([picture, picture.astype(np.float32)], POLICY)
    with pytest.raises(RequestError, match="7x10"):
        read_pictures([picture[:, :7]], POLICY)
