"""Small pictures inside a page."""

import base64
import io
from pathlib import Path

from PIL import Image

from artifacts import DataError
from artifacts.pictures import read_picture

SIDE = 176
"""Maximum width and height of a thumbnail, in pixels."""
QUALITY = 72


def thumbnail(path: Path) -> str:
    """Return a small version of a picture file as a data URL of a JPEG.

    The result is empty if the picture cannot be read, because it may have been moved since it was
    measured.
    """
    try:
        pixels = read_picture(path)
    except DataError:
        return ""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
