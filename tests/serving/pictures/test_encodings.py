"""Valid files of every encoding that the accepted formats have, small ones and ones of 10 MB."""

import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from shutil import which

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFile

from artifacts import InputPolicy
from serving.pictures.decode import read_pictures
from tests.pictures import encoded, photograph, png

Pixels = npt.NDArray[np.uint8]
POLICY = InputPolicy(accepted_side=(1, 16_384))
LARGE = 10_000_000
"""Bytes of the large files, at most."""
BI_RGB, BI_RLE8, BI_RLE4, BI_BITFIELDS = range(4)
GREY = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
COLOURS = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], 1).astype(np.uint8)


@pytest.fixture(autouse=True)
def room_for_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's encoder of JPEG needs room for files larger than their pixels."""
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2 * LARGE)


def read(content: bytes) -> Pixels:
    return read_pictures([content], POLICY)[0]


def indices(width: int, height: int, colours: int = 256) -> Pixels:
    """Noise, H x W, which no encoding makes much smaller."""
    return np.random.default_rng(width).integers(0, colours, (height, width), np.uint8)


def runs(width: int, height: int, colours: int = 256) -> Pixels:
    """As `indices`, with runs of equal pixels."""
    return np.sort(indices(width, height, colours), axis=1)


def bmp(
    data: bytes,
    size: tuple[int, int],
    bits: int,
    compression: int = BI_RGB,
    palette: Pixels | None = None,
    masks: tuple[int, ...] = (),
    header: int = 40,
    *,
    top_down: bool = False,
) -> bytes:
    """Write a BMP file with a header of 12 (OS/2), 40, 52, 56, 108 or 124 bytes."""
    width, height = size
    colours = b"" if palette is None else _palette(palette, header)
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        number = 0 if palette is None else len(palette)
        info = struct.pack(
            "<IiiHHIIiiII",
            header,
            width,
            -height if top_down else height,
            1,
            bits,
            compression,
            len(data),
            2835,
            2835,
            number,
            0,
        )
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header if header > 40 else len(info), b"\0")
    start = 14 + len(info) + len(colours)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    return head + info + colours + data


def _palette(palette: Pixels, header: int) -> bytes:
    blue_first = palette[:, ::-1]
    if header == 12:
        return blue_first.tobytes()
    return np.pad(blue_first, ((0, 0), (0, 1))).tobytes()


def rows(pixels: npt.NDArray[np.generic], *, top_down: bool = False) -> bytes:
    """Return rows of bytes, each padded to a multiple of 4, bottom-up unless asked otherwise."""
    whole = np.ascontiguousarray(pixels if top_down else pixels[::-1]).view(np.uint8)
    flat = whole.reshape(len(pixels), -1)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 4))).tobytes()


def nibbles(pixels: Pixels) -> Pixels:
    """Pack 4-bit pixels, H x W, into bytes."""
    even = np.pad(pixels, ((0, 0), (0, pixels.shape[1] % 2)))
    return (even[:, ::2] << 4) | even[:, 1::2]


def rle8(pixels: Pixels) -> bytes:
    """Encode as runs: absolute ones of 3 to 255 pixels where neighbours differ, else repeated."""
    out = bytearray()
    for row in pixels[::-1]:
        line = row.tobytes()
        at = 0
        while at < len(line):
            same = 1
            while same < 255 and at + same < len(line) and line[at + same] == line[at]:
                same += 1
            if same > 1 or len(line) - at < 3:
                out += bytes((same, line[at]))
                at += same
                continue
            some = line[at : at + 255]
            out += bytes((0, len(some))) + some + b"\0" * (len(some) % 2)
            at += len(some)
        out += b"\0\0"
    return bytes(out + b"\0\1")


def rle8_of_single_pixels(pixels: Pixels) -> bytes:
    """Encode every pixel as a run of its own: the most runs that a file of its size has."""
    height, width = pixels.shape
    out = np.zeros((height, 2 * width + 2), np.uint8)
    out[:, 0:-2:2] = 1
    out[:, 1:-2:2] = pixels[::-1]
    return out.tobytes() + b"\0\1"


def rle4(pixels: Pixels) -> bytes:
    """Encode pairs of pixels as runs of two, and the first row as an absolute run."""
    height, width = pixels.shape
    pairs = nibbles(pixels)[::-1]
    out = np.zeros((height, 2 * pairs.shape[1] + 2), np.uint8)
    out[:, 0:-2:2] = 2
    out[:, 1:-2:2] = pairs
    if width % 2:
        out[:, -4] = 1
    lines = [row.tobytes() for row in out]
    if width <= 255:
        first = pairs[0].tobytes()
        lines[0] = bytes((0, width)) + first + b"\0" * (len(first) % 2) + b"\0\0"
    return b"".join(lines) + b"\0\1"


def with_delta(pixels: Pixels) -> tuple[bytes, Pixels]:
    """Encode one pixel, a jump over two rows and two pixels, and the rest."""
    shown = pixels.copy()
    shown[-1, 1:] = shown[-2] = shown[-3, :3] = 0
    begin = bytes((1, pixels[-1, 0], 0, 2, 2, 2))
    third = b"".join(bytes((1, pixel)) for pixel in pixels[-3, 3:]) + b"\0\0"
    return begin + third + rle8(pixels[:-3]), shown


def bmps(width: int, height: int) -> Iterator[tuple[str, bytes, Pixels]]:
    """Yield name, file and pixels of every kind of BMP."""
    size = width, height
    for name, palette in (("", COLOURS), (" grey", GREY)):
        eight, four, one = indices(*size), indices(*size, 16), indices(*size, 2)
        for bits, pixels, packed in (
            (8, eight, eight),
            (4, four, nibbles(four)),
            (1, one, np.packbits(one, axis=1)),
        ):
            few = palette[:: 255 // (2**bits - 1)][: 2**bits]
            for header in (12, 40, 108, 124):
                content = bmp(rows(packed), size, bits, palette=few, header=header)
                yield f"{bits} bit{name}, header {header}", content, few[pixels]
            content = bmp(rows(packed, top_down=True), size, bits, palette=few, top_down=True)
            yield f"{bits} bit{name}, top-down", content, few[pixels]
        for kind, make in (("runs", runs), ("noise", indices)):
            eight, four = make(*size), make(*size, 16)
            yield f"RLE8{name}, {kind}", bmp(rle8(eight), size, 8, BI_RLE8, palette), palette[eight]
            few = palette[::17]
            yield f"RLE4{name}, {kind}", bmp(rle4(four), size, 4, BI_RLE4, few), few[four]
    single = bmp(rle8_of_single_pixels(eight), size, 8, BI_RLE8, COLOURS)
    yield "RLE8, single pixels", single, COLOURS[eight]
    data, shown = with_delta(indices(8, 6))
    yield "RLE8, delta", bmp(data, (8, 6), 8, BI_RLE8, COLOURS), COLOURS[shown]
    yield from _true_colours(width, height)


def _true_colours(width: int, height: int) -> Iterator[tuple[str, bytes, Pixels]]:
    size = width, height
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    for top_down in (False, True):
        end = ", top-down" if top_down else ""
        blue_first = np.ascontiguousarray(rgb[..., ::-1])
        for header in (40,) if top_down else (12, 40, 108, 124):
            data = rows(blue_first, top_down=top_down)
            content = bmp(data, size, 24, header=header, top_down=top_down)
            yield f"24 bit, header {header}{end}", content, rgb
        padded = rows(np.pad(blue_first, ((0, 0), (0, 0), (0, 1))), top_down=top_down)
        yield f"32 bit{end}", bmp(padded, size, 32, top_down=top_down), rgb
        for masks in ((0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00)):
            shifts = [mask.bit_length() - 8 for mask in masks]
            words = sum(rgb[..., i].astype("<u4") << shift for i, shift in enumerate(shifts))
            for header in (40, 52, 108, 124):
                content = bmp(
                    rows(words, top_down=top_down),
                    size,
                    32,
                    BI_BITFIELDS,
                    masks=masks,
                    header=header,
                    top_down=top_down,
                )
                yield f"32 bit, masks {masks[0]:x}, header {header}{end}", content, rgb
        deep = rgb.astype("<u2")
        five = (deep[..., 0] >> 3 << 10) | (deep[..., 1] >> 3 << 5) | deep[..., 2] >> 3
        six = (deep[..., 0] >> 3 << 11) | (deep[..., 1] >> 2 << 5) | deep[..., 2] >> 3
        wide = (rgb >> 3).astype(int) * 255 // 31
        wide_six = wide.copy()
        wide_six[..., 1] = (rgb[..., 1] >> 2).astype(int) * 255 // 63
        data = rows(five, top_down=top_down)
        masks = (0x7C00, 0x3E0, 0x1F)
        yield f"16 bit{end}", bmp(data, size, 16, top_down=top_down), wide
        content = bmp(data, size, 16, BI_BITFIELDS, masks=masks, top_down=top_down)
        yield f"16 bit, masks 5 5 5{end}", content, wide
        masks = (0xF800, 0x7E0, 0x1F)
        data = rows(six, top_down=top_down)
        content = bmp(data, size, 16, BI_BITFIELDS, masks=masks, top_down=top_down)
        yield f"16 bit, masks 5 6 5{end}", content, wide_six


def test_every_kind_of_bmp() -> None:
    kinds = list(bmps(203, 61))  # neither width nor height is a multiple of anything
    assert len(kinds) > 60
    for name, content, pixels in kinds:
        assert np.abs(read(content).astype(int) - pixels.astype(int)).max() <= 1, name


@pytest.mark.parametrize(
    ("encode", "compression", "side", "colours"),
    [
        (rle8_of_single_pixels, BI_RLE8, 2200, 256),
        (rle4, BI_RLE4, 3000, 16),
        (rows, BI_RGB, 3100, 256),
    ],
)
def test_large_bmp(
    encode: Callable[[Pixels], bytes], compression: int, side: int, colours: int
) -> None:
    pixels = indices(side, side, colours)
    bits = 4 if colours == 16 else 8
    content = bmp(encode(pixels), (side, side), bits, compression, COLOURS[:colours])
    assert 8_000_000 < len(content) < LARGE
    assert np.array_equal(read(content), COLOURS[pixels])


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def others(width: int, height: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and file of every kind of the other formats that Pillow or this module writes."""
    picture = noise(width, height)
    deep = np.random.default_rng(0).integers(0, 65536, (height, width), np.uint16)
    frames = {"save_all": True, "append_images": [noise(width, height).rotate(180)] * 2}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"png {mode}", encoded(picture.convert(mode))
    yield "png 16 bit", encoded(Image.fromarray(deep))
    for colours in (2, 4, 16, 200):
        yield f"png of {colours} colours", encoded(picture.quantize(colours))
    yield "png, colour key", encoded(picture, transparency=(1, 2, 3))
    yield "png, transparent palette", encoded(picture.quantize(16), transparency=3)
    yield "png, not compressed", encoded(picture, compress_level=0)
    yield "png, animated", encoded(picture, "PNG", **frames)
    yield "png, 1 kB pieces", in_pieces(encoded(picture), 1024)
    for kind in (0, 2, 4, 6):
        yield f"png of 16 bits, type {kind}", deep_png(width, height, kind)
    yield "png, interlaced", interlaced_png(width, height)
    for subsampling in (0, 1, 2):
        content = encoded(picture, "JPEG", quality=95, subsampling=subsampling)
        yield f"jpeg, subsampling {subsampling}", content
        content = encoded(picture, "JPEG", quality=95, subsampling=subsampling, progressive=True)
        yield f"jpeg, subsampling {subsampling}, progressive", content
    for mode in ("L", "CMYK"):
        yield f"jpeg {mode}", encoded(picture.convert(mode), "JPEG", quality=95)
        yield f"jpeg {mode}, progressive", encoded(picture.convert(mode), "JPEG", progressive=True)
    yield "jpeg, optimized", encoded(picture, "JPEG", optimize=True, quality=95)
    yield "jpeg, restarts", encoded(picture, "JPEG", restart_marker_rows=1, quality=95)
    yield "jpeg, restart at each block", encoded(picture, "JPEG", restart_marker_blocks=1)
    yield "jpeg, several pictures", encoded(picture, "MPO", **frames)
    yield "webp", encoded(picture, "WEBP", quality=95)
    yield "webp, lossless", encoded(picture, "WEBP", lossless=True)
    yield "webp, alpha", encoded(picture.convert("RGBA"), "WEBP", quality=95)
    yield "webp, animated", encoded(picture, "WEBP", **frames)
    yield "webp, animated, lossless", encoded(picture, "WEBP", lossless=True, **frames)
    for interlaced in (0, 1):
        yield f"gif, interlace {interlaced}", encoded(picture, "GIF", interlace=interlaced)
    yield "gif, animated", encoded(picture, "GIF", **frames)
    yield "gif, transparent", encoded(picture.quantize(16), "GIF", transparency=3)
    yield "gif, black and white", encoded(picture.convert("1"), "GIF")


def chunks_of(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of each chunk of a PNG."""
    at = 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += length + 12


def in_pieces(content: bytes, size: int) -> bytes:
    """Divide the data of a PNG into chunks of that size, as some encoders write them."""
    divided = []
    for kind, data in chunks_of(content):
        step = size if kind == b"IDAT" else len(data) or 1
        divided += [(kind, data[i : i + step]) for i in range(0, len(data) or 1, step)]
    return png(*divided)


def deep_png(width: int, height: int, kind: int) -> bytes:
    """Write a PNG of 16 bits per channel of that colour type (ISO/IEC 15948, 11.2.2)."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    samples = np.random.default_rng(0).integers(0, 256, (height, width * channels * 2), np.uint8)
    data = np.pad(samples, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(data, 1)), (b"IEND", b""))


def interlaced_png(width: int, height: int) -> bytes:
    """Write an RGB PNG in the seven passes of Adam7 (ISO/IEC 15948, 8.2)."""
    pixels = np.asarray(noise(width, height))
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    starts += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b""
    for top, left, down, right in starts:
        part = pixels[top::down, left::right]
        if part.size:
            flat = part.reshape(len(part), -1)
            data += np.pad(flat, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(data, 1)), (b"IEND", b""))


@pytest.mark.parametrize("side", [65, 900])
def test_every_kind_of_the_other_formats(side: int) -> None:
    width, height = side, side - 4
    kinds = 0
    for name, content in others(width, height):
        assert len(content) < LARGE, name
        assert read(content).shape == (height, width, 3), name
        kinds += 1
    assert kinds > 40


@pytest.mark.parametrize(
    ("kind", "side", "options"),
    [
        ("PNG", 1800, {}),
        ("PNG", 1800, {"pieces": 1024}),
        ("JPEG", 2900, {"quality": 95, "progressive": True}),
        ("JPEG", 2700, {"quality": 95, "restart_marker_blocks": 1}),
        ("GIF", 2700, {"interlace": 1}),
        ("GIF", 2700, {"interlace": 0}),
        ("WEBP", 1800, {"lossless": True}),
    ],
)
def test_large_files_of_the_other_formats(
    kind: str, side: int, options: dict[str, int | bool]
) -> None:
    pieces = options.pop("pieces", 0)
    content = encoded(noise(side, side), kind, **options)
    content = in_pieces(content, pieces) if pieces else content
    assert 5_000_000 < len(content) < LARGE, len(content)
    assert read(content).shape == (side, side, 3)


def test_arithmetic_jpeg() -> None:
    """Pillow writes none, and reads it if its libjpeg does."""
    if which("cjpeg") is None:
        pytest.skip("cjpeg is not installed; apt-get install libjpeg-turbo-progs brings it")
    picture = photograph(300, 200)
    for more in ((), ("-progressive",)):
        made = subprocess.run(
            ["cjpeg", "-arithmetic", "-quality", "95", *more],
            input=encoded(picture, "PPM"),
            capture_output=True,
            check=True,
        ).stdout
        assert np.abs(read(made).astype(int) - np.asarray(picture)).mean() < 4
