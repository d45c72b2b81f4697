"""Files of data sets are decoded to the pixels that the server sees."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from artifacts import DataError, InputPolicy
from artifacts.datasets import load
from artifacts.datasets.base import FileImages
from artifacts.pictures import FORMATS, ORIENTATION, read_picture, upright_rgb
from serving.pictures.decode import read_pictures
from serving.pictures.limits import FORMATS as SERVED_FORMATS
from serving.problems import RequestError
from tests.pictures import bomb, encoded, photograph

POLICY = InputPolicy()
PHOTOGRAPH = photograph(40, 24)
SECOND = photograph(40, 24, seed=1)
FRAMES = {"save_all": True, "append_images": [SECOND]}
GREY_16 = Image.fromarray(np.linspace(0, 65535, 960).reshape(24, 40).astype(np.uint16))


def translucent(mode: str) -> Image.Image:
    picture = PHOTOGRAPH.convert(mode)
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def palette() -> Image.Image:
    return PHOTOGRAPH.quantize(16)


def rotated(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


# each with the ending of its file's name
KINDS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "RGB PNG": lambda: (".png", encoded(PHOTOGRAPH)),
    "grey PNG": lambda: (".png", encoded(PHOTOGRAPH.convert("L"))),
    "16-bit grey PNG": lambda: (".png", encoded(GREY_16)),
    "1-bit PNG": lambda: (".png", encoded(PHOTOGRAPH.convert("1"))),
    "LA PNG": lambda: (".png", encoded(translucent("L"))),
    "RGBA PNG": lambda: (".png", encoded(translucent("RGB"))),
    "palette PNG": lambda: (".png", encoded(palette())),
    "palette PNG, one clear": lambda: (".png", encoded(palette(), transparency=3)),
    "palette PNG, alphas": lambda: (
        ".png",
        encoded(palette(), transparency=bytes(range(0, 256, 16))),
    ),
    "grey PNG with a key": lambda: (".png", encoded(Image.new("L", (9, 9), 7), transparency=7)),
    "RGB PNG with a key": lambda: (
        ".png",
        encoded(PHOTOGRAPH, transparency=PHOTOGRAPH.getpixel((5, 5))),
    ),
    "animated PNG": lambda: (".png", encoded(PHOTOGRAPH, "PNG", **FRAMES)),
    "rotated PNG": lambda: (".png", encoded(PHOTOGRAPH, exif=rotated())),
    "rotated clear palette": lambda: (
        ".png",
        encoded(palette(), transparency=3, exif=rotated(8)),
    ),
    "GIF": lambda: (".gif", encoded(palette(), "GIF")),
    "GIF, one clear": lambda: (".gif", encoded(palette(), "GIF", transparency=3)),
    "animated GIF": lambda: (".gif", encoded(PHOTOGRAPH, "GIF", **FRAMES)),
    "JPEG": lambda: (".jpg", encoded(PHOTOGRAPH, "JPEG")),
    "grey JPEG": lambda: (".jpeg", encoded(PHOTOGRAPH.convert("L"), "JPEG")),
    "CMYK JPEG": lambda: (".jpg", encoded(PHOTOGRAPH.convert("CMYK"), "JPEG")),
    "rotated JPEG": lambda: (".jpg", encoded(PHOTOGRAPH, "JPEG", exif=rotated())),
    "mirrored JPEG": lambda: (".jpg", encoded(PHOTOGRAPH, "JPEG", exif=rotated(5))),
    "JPEG turned by XMP": lambda: (
        ".jpg",
        encoded(PHOTOGRAPH, "JPEG", xmp=b'<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>'),
    ),
    "JPEG with bad EXIF": lambda: (
        ".jpg",
        encoded(PHOTOGRAPH, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    ),
    "JPEG of several pictures": lambda: (".jpg", encoded(PHOTOGRAPH, "MPO", **FRAMES)),
    "WebP": lambda: (".webp", encoded(PHOTOGRAPH, "WEBP")),
    "RGBA WebP": lambda: (".webp", encoded(translucent("RGB"), "WEBP")),
    "animated WebP": lambda: (".webp", encoded(PHOTOGRAPH, "WEBP", **FRAMES)),
    "rotated WebP": lambda: (".webp", encoded(PHOTOGRAPH, "WEBP", exif=rotated())),
    "BMP": lambda: (".bmp", encoded(PHOTOGRAPH, "BMP")),
    "RGBA BMP": lambda: (".bmp", encoded(translucent("RGB"), "BMP")),
    "palette BMP": lambda: (".bmp", encoded(palette(), "BMP")),
    "PNG named as a JPEG": lambda: (".jpg", encoded(translucent("RGB"))),
}


TURNED = {
    "rotated PNG",
    "rotated clear palette",
    "rotated JPEG",
    "mirrored JPEG",
    "JPEG turned by XMP",
    "rotated WebP",
}


# Pillow warns of the malformed EXIF, which the server ignores
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", KINDS)
def test_folders_and_the_server_see_the_same_pixels(tmp_path: Path, kind: str) -> None:
    suffix, content = KINDS[kind]()
    path = tmp_path / "pictures/test/class" / f"1{suffix}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    found = load("image_folder/pictures", "test", tmp_path).images[0]
    expected = read_pictures([content], POLICY)[0]
    assert found.dtype == expected.dtype == np.uint8
    assert np.array_equal(found, expected)
    assert (found.shape == (40, 24, 3)) == (kind in TURNED)


def test_the_shared_pixels_are_the_right_ones(tmp_path: Path) -> None:
    """Both could be wrong alike."""

    def read(content: bytes) -> np.ndarray:
        path = tmp_path / "1.png"
        path.write_bytes(content)
        return FileImages([path])[0]

    assert read(encoded(GREY_16)).mean() == pytest.approx(127.5, abs=0.5)
    assert read(encoded(Image.new("LA", (9, 9), (9, 0)))).min() == 255
    assert read(encoded(Image.new("RGBA", (9, 9), (9, 9, 9, 0)))).min() == 255
    assert read(encoded(Image.new("RGB", (9, 9), (1, 2, 3)), transparency=(1, 2, 3))).min() == 255
    clear = Image.new("P", (9, 9), 1)
    clear.putpalette([0, 0, 0, 10, 20, 30])
    assert read(encoded(clear, transparency=1)).min() == 255
    assert read(encoded(clear, "GIF", transparency=1)).min() == 255
    upright = np.asarray(PHOTOGRAPH.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(read(encoded(PHOTOGRAPH, exif=rotated())), upright)
    first = encoded(PHOTOGRAPH, "WEBP", lossless=True, **FRAMES)
    assert np.array_equal(read(first), np.asarray(PHOTOGRAPH))


def as_pillow_decodes(content: bytes) -> np.ndarray | None:
    try:
        with Image.open(BytesIO(content)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError:
        return None


def as_we_decode(content: bytes) -> np.ndarray | None:
    try:
        return upright_rgb(Image.open(BytesIO(content)))
    except OSError:
        return None


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_have_the_pixels_that_pillow_gives_them(
    mode: str, subsampling: str, progressive: bool
) -> None:
    for orientation, size in enumerate([(1, 1), (8, 8), (17, 31), (33, 47), (64, 48)], 1):
        picture = photograph(*size).convert(mode)
        options = {"subsampling": subsampling} if mode == "RGB" else {}
        for quality in (20, 95):
            options |= {"exif": rotated(orientation), "quality": quality}
            content = encoded(picture, "JPEG", progressive=progressive, **options)
            expected = as_pillow_decodes(content)
            assert expected is not None
            assert np.array_equal(upright_rgb(Image.open(BytesIO(content))), expected)


def test_damaged_jpegs_are_taken_or_refused_as_by_pillow() -> None:
    content = encoded(photograph(33, 47), "JPEG")
    random = np.random.default_rng(0)
    damaged = [content[:end] for end in range(200, len(content), 97)]
    damaged += [
        content[:place] + random.bytes(1) + content[place + 1 :]
        for place in random.integers(2, len(content), 200)
    ]
    taken = 0
    for each in damaged:
        expected, found = as_pillow_decodes(each), as_we_decode(each)
        assert (expected is None) == (found is None)
        if expected is not None and found is not None:
            assert np.array_equal(found, expected)
            taken += 1
    assert 0 < taken < len(damaged)


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_only_files_may_be_ppm_pgm_or_pbm(tmp_path: Path, mode: str) -> None:
    picture = PHOTOGRAPH.convert(mode)
    content = encoded(picture, "PPM")
    path = tmp_path / "1.ppm"
    path.write_bytes(content)
    assert np.array_equal(FileImages([path])[0], np.asarray(picture.convert("RGB")))
    with pytest.raises(RequestError) as caught:
        read_pictures([content], POLICY)
    assert caught.value.code == "unsupported-format"
    assert set(FORMATS) - set(SERVED_FORMATS) == {"PPM"}
    assert set(SERVED_FORMATS) <= set(FORMATS)


def test_a_pgm_of_sixteen_bits_is_scaled_to_eight(tmp_path: Path) -> None:
    path = tmp_path / "1.pgm"
    path.write_bytes(encoded(GREY_16, "PPM"))
    found = read_picture(path)
    assert found.mean() == pytest.approx(127.5, abs=0.5)
    assert np.array_equal(found, read_pictures([encoded(GREY_16)], POLICY)[0])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM"])
def test_damaged_files_are_named(tmp_path: Path, kind: str) -> None:
    content = encoded(photograph(64, 64), kind)
    path = tmp_path / "1.png"
    for length in range(0, len(content) - 64, len(content) // 12):
        path.write_bytes(content[:length])
        with pytest.raises(
            DataError, match=r"1\.png: not a readable picture \(.+\); save"
        ) as error:
            read_picture(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"just text", encoded(PHOTOGRAPH, "TIFF")])
def test_other_formats_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1\.jpg: not a readable picture \(its content has none"):
        read_picture(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1\.jpg: cannot be read \(No such file or directory\)"):
        read_picture(tmp_path / "1.jpg")


def test_the_limits_of_requests_do_not_apply_to_files(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(bomb(7072))  # 50.01 megapixels
    assert read_picture(path).shape == (7072, 7072, 3)
    path.write_bytes(encoded(photograph(3, 2)))
    assert read_picture(path).shape == (2, 3, 3)


def test_caches_of_files_are_keyed_by_the_version_of_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pictures/test/class/1.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded(GREY_16))
    files = load("image_folder/pictures", "test", tmp_path)
    before = files.pixels_key
    monkeypatch.setattr("artifacts.datasets.base.VERSION", "another")
    assert files.pixels_key != before
    array = load("synthetic/digits", "test")
    assert array.pixels_key == array.fingerprint


def test_fingerprints_do_not_depend_on_the_decoder(tmp_path: Path) -> None:
    """Manifests record them."""
    path = tmp_path / "pictures/test/class/1.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"any content")
    assert load("image_folder/pictures", "test", tmp_path).fingerprint == (
        "9ce7e89bb29ef55ab5ca15c613184add5f30c9a1ba7dec0ffdec127a229e30d1"
    )
