"""Requests that mean harm, or look as if: made by code, the same in every run.

`cases()` gives thousands; each says what the server may answer. `share()` picks of every kind.
"""

import json
from collections.abc import Iterator
from io import BytesIO
from zipfile import ZipFile

import numpy as np
from PIL import Image

from serving.pictures.decode import ORIENTATION
from serving.pictures.limits import MAX_BODY_BYTES
from tests.hostile.bombs import bombs
from tests.hostile.case import ANSWERED, EITHER, REFUSED, Case
from tests.pictures import encoded, photograph

STEP = 64
"""Bytes between two truncations."""
FLIPS = 220
"""Single bits turned in each sample."""
FORM = "multipart/form-data; boundary=x"


def samples() -> dict[str, bytes]:
    """Small pictures of all formats and of their variants, by name."""
    picture = photograph(64, 48, seed=5)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    grey = Image.fromarray(np.linspace(0, 65535, 3072).reshape(48, 64).astype(np.uint16))
    clear = picture.convert("RGBA")
    clear.putalpha(100)
    second = photograph(64, 48, seed=6)
    frames = {"save_all": True, "append_images": [second]}
    return {
        "jpeg": encoded(noise, "JPEG"),
        "jpeg-progressive": encoded(noise, "JPEG", progressive=True),
        "jpeg-cmyk": encoded(noise.convert("CMYK"), "JPEG"),
        "jpeg-several": encoded(noise, "MPO", **frames),
        "png": encoded(noise),
        "png-palette": encoded(noise.quantize(64)),
        "png-16": encoded(grey),
        "png-alpha": encoded(clear),
        "png-animated": encoded(noise, "PNG", **frames),
        "webp": encoded(noise, "WEBP", quality=90),
        "webp-lossless": encoded(noise, "WEBP", lossless=True),
        "webp-animated": encoded(noise, "WEBP", **frames),
        "bmp": encoded(picture, "BMP"),
        "bmp-palette": encoded(picture.quantize(16), "BMP"),
        "gif": encoded(noise, "GIF"),
        "gif-animated": encoded(noise, "GIF", **frames),
    }


def cases() -> Iterator[Case]:
    """All of them, kind by kind."""
    pictures = samples()
    yield from _truncated(pictures)
    yield from _flipped(pictures)
    yield from _turned()
    yield from bombs()
    yield from _disguised(pictures)
    yield from _mislabelled(pictures)
    yield from _forms(pictures["png"])
    yield from _addresses(pictures["png"])


def share(every: int) -> list[Case]:
    """Every n-th case of each kind, the first of each among them."""
    seen: dict[str, int] = {}
    chosen = []
    for case in cases():
        number = seen.get(case.kind, 0)
        seen[case.kind] = number + 1
        if number % (every if case.kind in {"truncated", "flipped"} else 1) == 0:
            chosen.append(case)
    return chosen


def _truncated(pictures: dict[str, bytes]) -> Iterator[Case]:
    for name, content in pictures.items():
        for length in range(0, len(content), STEP):
            yield Case("truncated", f"{name}[:{length}]", content[:length])


def _flipped(pictures: dict[str, bytes]) -> Iterator[Case]:
    """Half of the flips in the first 200 bytes, where the headers are."""
    random = np.random.default_rng(0)
    for name, content in pictures.items():
        for number in range(FLIPS):
            reach = min(200, len(content)) if number % 2 else len(content)
            place, bit = int(random.integers(reach)), int(random.integers(8))
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            yield Case("flipped", f"{name} byte {place} bit {bit}", bytes(changed))


def _turned() -> Iterator[Case]:
    exif = Image.Exif()
    for kind in ("JPEG", "PNG", "WEBP"):
        for orientation in range(1, 9):
            exif[ORIENTATION] = orientation
            body = encoded(photograph(40, 24), kind, exif=exif.tobytes())
            size = (24, 40) if orientation >= 5 else (40, 24)
            yield Case("turned", f"{kind} {orientation}", body, ANSWERED, size=size)


def _disguised(pictures: dict[str, bytes]) -> Iterator[Case]:
    archive = BytesIO()
    with ZipFile(archive, "w") as file:
        file.writestr("evil.py", "print('hello')")
    script = b"<script>alert(1)</script>"
    texts = {
        "html": b"<!doctype html>" + script,
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">'
        + script
        + b"</svg>",
        "xml entity": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        "zip": archive.getvalue(),
        "pdf": b"%PDF-1.7\n" + pictures["jpeg"],
        "elf": b"\x7fELF" + bytes(500),
        "pickle": b"\x80\x04\x95" + b"cos\nsystem\n(S'true'\ntR.",
        "tiff": encoded(photograph(32, 32), "TIFF"),
        "ico": encoded(photograph(32, 32), "ICO"),
        "pcx": encoded(photograph(32, 32), "PCX"),
        "ppm": encoded(photograph(32, 32), "PPM"),
        "eps": encoded(photograph(32, 32), "EPS"),
        "address": b"http://169.254.169.254/latest/meta-data/",
        "path": b"/etc/passwd",
        "nothing": bytes(5000),
        "template": b"{{7*7}}${7*7}<%= 7*7 %>",
    }
    for name, body in texts.items():
        yield Case("disguised", name, body, REFUSED)
    for name, content in pictures.items():
        yield Case("disguised", f"{name} and a zip", content + archive.getvalue(), EITHER)
        yield Case("disguised", f"a zip and {name}", archive.getvalue() + content, REFUSED)
    comment = encoded(photograph(32, 32), "JPEG", comment=script)
    yield Case("disguised", "script in a jpeg", comment, ANSWERED)
    first = encoded(photograph(32, 32), "GIF")
    yield Case("disguised", "gif that is a script", first[:6] + b"=1;/*" + first[11:], EITHER)


def _mislabelled(pictures: dict[str, bytes]) -> Iterator[Case]:
    kinds = ("text/html", "application/json", "image/svg+xml", "image/heic", "é", ";;;", "a" * 5000)
    for name, content in pictures.items():
        for kind in kinds:
            label = kind[:20]
            yield Case("mislabelled", f"{name} as {label}", content, ANSWERED, kind)
        yield Case("mislabelled", f"{name} as a form", content, REFUSED, FORM)
        encoding = {"Content-Encoding": "gzip", "Transfer-Encoding-X": "chunked"}
        yield Case("mislabelled", f"{name} as gzip", content, ANSWERED, headers=encoding)


def _part(name: bytes, content: bytes, more: bytes = b"") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="' + name + b'"; filename="p"' + more
    return head + b"\r\n\r\n" + content + b"\r\n"


def _forms(picture: bytes) -> Iterator[Case]:
    end = b"--x--\r\n"
    good = _part(b"image", picture)

    def case(name: str, body: bytes, statuses: frozenset[int], kind: str = FORM) -> Case:
        return Case("form", name, body, statuses, kind)

    yield case("empty", b"", REFUSED)
    yield case("end alone", end, REFUSED)
    yield case("one picture", good + end, ANSWERED)
    yield case("empty picture", _part(b"image", b"") + end, REFUSED)
    yield case("no end", good, REFUSED)
    yield case("10,000 fields", _part(b"f", b"v") * 10_000 + good + end, REFUSED)
    yield case("10,000 pictures", _part(b"image", picture[:100]) * 10_000 + end, REFUSED)
    yield case("a million boundaries", b"--x\r\n" * 1_000_000, REFUSED)
    yield case("20 MB of one field", _part(b"f", bytes(MAX_BODY_BYTES - 500)) + end, REFUSED)
    yield case("too large", _part(b"image", bytes(MAX_BODY_BYTES)) + end, REFUSED)
    yield case("a megabyte of headers", _part(b"image", picture, b"; a=" + b"b" * 10**6), REFUSED)
    yield case("50,000 headers", _part(b"image", picture, b"\r\nA: b" * 50_000) + end, EITHER)
    yield case("name of a megabyte", _part(b"n" * 10**6, picture) + good + end, EITHER)
    yield case("no name", b"--x\r\n\r\n" + picture + b"\r\n" + end, REFUSED)
    yield case("form in a form", _part(b"image", good + end) + end, REFUSED)
    yield case("newlines alone", b"\r\n" * 100_000, REFUSED)
    yield case("name of the wrong case", _part(b"IMAGE", picture) + end, REFUSED)
    for name in (
        b"\xff\xfe",
        b"\xc3",
        "\u0131mage".encode(),
        b"image\0",
        b"../../etc/passwd",
        b'a\\"b',
    ):
        yield case(f"field {name!r}", _part(name, picture) + end, REFUSED)
        named = _part(b"image", picture).replace(b'"p"', b'"' + name + b'"')
        yield case(f"file called {name!r}", named + end, ANSWERED)
    for boundary in ("", ";", '"', "é", "x" * 70_000, "y"):
        kind = f"multipart/form-data; boundary={boundary}"
        yield case(f"boundary {boundary[:9]!r}", good + end, EITHER, kind)
    nested = b"[" * 100_000 + b"]" * 100_000
    deep = json.dumps({"image": "A" * 1000}).encode()
    for body in (nested, deep, b"{}", b"null", b'{"image": {"url": "file:///etc/passwd"}}'):
        yield case(f"json {body[:20]!r}", body, REFUSED, "application/json")
    yield case(
        "fields in the body", b"image=abc&image=def", REFUSED, "application/x-www-form-urlencoded"
    )


def _addresses(picture: bytes) -> Iterator[Case]:
    paths = (
        "/v1/models/..%2f..%2fetc%2fpasswd/classify",
        "/v1/models/%00/classify",
        "/v1/models/%ff%fe/classify",
        "/v1/models/" + "a" * 8000 + "/classify",
        "/v1/models/tiny%0a/classify",
        "/v1/models//classify",
        "/docs/assets/..%2f..%2f..%2fetc/passwd",
        "/docs/assets/%2e%2e/%2e%2e/app.py",
        "/v1/models/broken/../tiny/classify?top=" + "9" * 5000,
        "/v1/models/tiny/classify?top=1e9",
        "/v1/models/tiny/classify?top=%00",
        "/v1/models/tiny/classify?" + "a=b&" * 5000,
        "/v1/models/tiny/maps?layer=" + "%ff" * 1000,
        "/v1/cifar10/classify?model=%f0%9f%92%a9",
        "/v1/faces/verify",
        "//v1//models",
        "/%",
        "/%zz",
    )
    for path in paths:
        yield Case("address", path[:60], picture, EITHER, path=path)
    yield Case("address", "top twice", picture, EITHER, path="/v1/models/tiny/classify?top=1&top=x")
