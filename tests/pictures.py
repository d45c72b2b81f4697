"""Pictures that tests send, good and bad."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Make a picture whose colours vary smoothly, as in photographs; each seed gives another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Encode a PNG from chunks, each a kind and its data."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def bomb(side: int) -> bytes:
    """A valid black PNG of side x side pixels, a few kB long."""
    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(bytes(side // 8 + 1)) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", rows + deflate.flush()), (b"IEND", b""))


def portrait_photograph() -> Image.Image:
    """A photograph of one person, 512 x 600: Grace Hopper (US Navy, public domain).

    It is part of Matplotlib.
    """
    with Image.open(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))) as image:
        return image.convert("RGB")
