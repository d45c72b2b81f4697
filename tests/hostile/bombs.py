"""Small files that take much time or memory to decode."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.hostile.case import ANSWERED, EITHER, REFUSED, Case
from tests.pictures import bomb, encoded, photograph, png


def bombs() -> Iterator[Case]:
    """Yield a case for each file."""

    def case(name: str, body: bytes, statuses: frozenset[int] = REFUSED) -> Case:
        return Case("bomb", name, body, statuses)

    yield case("png of 400 megapixels", bomb(20_000))
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 1)
    yield case("png of 2^62 pixels", png((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")))
    small = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    excess = zlib.compress(bytes(100_000_000), 1)
    yield case(
        "pixels go on for 100 MB",
        png((b"IHDR", small), (b"IDAT", excess), (b"IEND", b"")),
        EITHER,
    )
    rows = zlib.compress(bytes(17 * 16))
    zeros = zlib.compress(bytes(100_000_000), 1)
    for kind, data in {
        b"zTXt": b"k\0\0" + zeros,
        b"iTXt": b"k\0\1\0\0\0" + zeros,
        b"iCCP": b"p\0\0" + zeros,
    }.items():
        body = png((b"IHDR", small), (kind, data), (b"IDAT", rows), (b"IEND", b""))
        yield case(f"{kind.decode()} of 100 MB", body, EITHER)
    screen = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    yield case("gif of 4 gigapixels", screen + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0))
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00\x3b"
    tiny = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    yield case("gif frame larger than its screen", tiny + frame)
    one = encoded(Image.new("L", (16, 16)), "GIF")
    frames = one[:-1] + one[one.index(b"\x2c") : -1] * 10_000 + b"\x3b"
    yield case("gif of 10,000 frames", frames, ANSWERED)
    comments = one[: one.index(b"\x2c")] + b"\x21\xfe\x01a\x00" * 1_000_000
    yield case("gif of a million comments", comments)
    yield case("jpeg of a million segments", b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1_000_000)
    chunks = png((b"IHDR", small), (b"tEXt", b"k\0v"))
    yield case("png of a million texts", chunks[:33] + chunks[33:] * 1_000_000)
    yield case("webp of 268 megapixels", _webp(16384, 16384))
    bmp = bytearray(encoded(photograph(16, 16), "BMP"))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    yield case("bmp of 2^62 pixels", bytes(bmp))
    jpeg = bytearray(encoded(photograph(64, 64), "JPEG"))
    frame_at = jpeg.index(b"\xff\xc0")
    jpeg[frame_at + 5 : frame_at + 9] = struct.pack(">HH", 65500, 65500)
    yield case("jpeg of 4 gigapixels", bytes(jpeg))
    waves = encoded(Image.new("RGB", (1000, 1000)), "JPEG", progressive=True)
    last = waves.rindex(b"\xff\xda")
    yield case("jpeg of 5,000 scans", waves[:last] + waves[last:-2] * 5000 + b"\xff\xd9")
    yield case("16 megapixels, 16 kB", bomb(4096), ANSWERED)


def _webp(width: int, height: int) -> bytes:
    """Make an animated WebP with a canvas of that size, whose only frame fills a corner."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data

    def three(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(3, "little") for number in numbers)

    frame = three(0, 0, 15, 15, 100) + bytes(1) + encoded(photograph(16, 16), "WEBP")[12:]
    content = b"WEBP" + chunk(b"VP8X", b"\x02" + bytes(3) + three(width - 1, height - 1))
    content += chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame)
    return chunk(b"RIFF", content)
