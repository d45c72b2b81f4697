"""Archives that are damaged, that lie, or that would unpack to far more than they are."""

import gzip
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from serving.pictures.archives import MAX_DIRECTORY_BYTES, MAX_ENTRIES, MAX_NAME
from serving.pictures.limits import MAX_PICTURES
from tests.archives import GZIP, TAR, ZIP, make_tar, make_zip
from tests.hostile.case import ANSWERED, EITHER, REFUSED, Case
from tests.pictures import bomb

BULK_MEGABYTES = 25
"""Of the server that is sent these archives."""
FLIPS = 20
"""Single bits turned in an archive of each kind."""


def archives(picture: bytes) -> Iterator[Case]:
    """Yield a case for each archive, most of which hold the picture."""
    yield from _bombs(picture)
    yield from _entries(picture)
    yield from _names(picture)
    yield from _damaged(picture)
    yield from _mislabelled(picture)


def _case(name: str, body: bytes, statuses: frozenset[int] = REFUSED, kind: str = ZIP) -> Case:
    return Case("archive", name, body, statuses, kind)


def _changed_zip(files: Mapping[str, bytes], **changes: Any) -> bytes:
    """Return a zip whose directory says other things of its members than is true."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
        for info in file.filelist:
            for field, value in changes.items():
                setattr(info, field, value)
    return archive.getvalue()


def _bombs(picture: bytes) -> Iterator[Case]:
    zeros = bytes(19_000_000)
    many = {f"{number}.png": b"" for number in range(5)}
    yield _case("says it has 95 MB", _changed_zip(many, file_size=len(zeros)))
    yield _case("19 MB said to be 100 bytes", _changed_zip({"a.png": zeros}, file_size=100))
    yield _case("100 bytes said to be 19 MB", _changed_zip({"a": b"x" * 100}, file_size=19_000_000))
    yield _case("a member of 21 MB", make_zip({"a.png": bytes(21_000_000)}, 8))
    tar = make_tar({f"{number}.png": zeros for number in range(2)})
    yield _case("38 MB of gzip", gzip.compress(tar, 1), kind=GZIP)
    yield _case("gzip after gzip", gzip.compress(bytes(10_000_000)) * 10, kind=GZIP)
    yield _case("gzip in gzip", gzip.compress(gzip.compress(tar, 1)), kind=GZIP)
    yield _case("26 MB of tar", make_tar({"a.png": picture, "b.png": bytes(26_000_000)}), kind=TAR)
    yield _case("a picture of 400 megapixels", make_zip({"a.png": bomb(20_000)}, 8))
    yield _case("an archive in an archive", make_zip({"a.zip": make_zip({"a.png": picture})}))
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 16)
    directory = entry * (MAX_DIRECTORY_BYTES // len(entry) + 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 0, 0)
    yield _case("a directory of 16 MB", directory + end)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 2**32 - 2, 0, 0)
    yield _case("a directory of 4 GB", make_zip({"a.png": picture})[:-22] + end)


def _entries(picture: bytes) -> Iterator[Case]:
    pictures = {f"{number}.png": b"" for number in range(MAX_PICTURES + 1)}
    folders = {f"{number}/": b"" for number in range(MAX_ENTRIES)} | {"a.png": picture}
    for kind, make in ((ZIP, make_zip), (TAR, make_tar)):
        yield _case(f"1,001 pictures of {kind}", make(pictures), kind=kind)
        yield _case(f"10,000 folders of {kind}", make(folders), kind=kind)
        yield _case(
            f"no file in {kind}", make({"a/": b"", "._b": b"", ".DS_Store": b""}), kind=kind
        )
        yield _case(f"nothing in {kind}", make({}), kind=kind)
    for name in ("SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE", "GNUTYPE_SPARSE"):
        linked = make_tar({"a.png": b""}, kind=getattr(tarfile, name))
        yield _case(f"a tar with {name}", linked, kind=TAR)
    yield _case("a zip with a link", _changed_zip({"a": b"/etc"}, external_attr=0o120777 << 16))
    yield _case("a zip with a password", _changed_zip({"a.png": picture}, flag_bits=1))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield _case(f"a zip with method {method}", make_zip({"a.png": picture}, method))
    yield _case("a method that is none", _changed_zip({"a.png": picture}, compress_type=77))


def _names(picture: bytes) -> Iterator[Case]:
    names = ("../a.png", "a/../../b.png", "/etc/a.png", "..\\a.png", "a\n.png", "a" * 5000)
    for name in names:
        for kind, make in ((ZIP, make_zip), (TAR, make_tar)):
            yield _case(f"{name[:20]!r} in {kind}", make({name: picture}), kind=kind)
    deep = "a/" * (MAX_NAME // 2 - 10) + "b.png"
    fine = {deep: picture, "\u202e\U0001f600.png": picture, "a": picture, " ": picture}
    for kind, make in ((ZIP, make_zip), (TAR, make_tar)):
        yield _case(f"strange names in {kind}", make(fine), ANSWERED, kind)
    wrong = make_tar({"xy.png": picture}).replace(b"xy.png", b"\xff\xfe.png")
    yield _case("a name that is no text", _with_checksum(wrong), ANSWERED, TAR)
    twice = make_tar({"a.png": picture})
    yield _case("a name twice", twice[: -twice[::-1].index(b"a") // 512] + twice, EITHER, TAR)


def _with_checksum(tar: bytes) -> bytes:
    """Return a tar with the right checksum of its first header."""
    header = bytearray(tar[:512])
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header) + tar[512:]


def _damaged(picture: bytes) -> Iterator[Case]:
    files = {"a.png": picture, "b.png": picture}
    random = np.random.default_rng(0)
    for kind, body in {
        ZIP: make_zip(files, 8),
        TAR: make_tar(files),
        GZIP: make_tar(files, "w:gz"),
    }.items():
        for length in (0, 1, 100, 512, 700, len(body) // 2):
            yield _case(f"{kind}[:{length}]", body[:length], kind=kind)
        for number in range(FLIPS):
            place, bit = int(random.integers(len(body))), int(random.integers(8))
            changed = bytearray(body)
            changed[place] ^= 1 << bit
            yield _case(f"{kind} {number}: byte {place} bit {bit}", bytes(changed), EITHER, kind)
    at_a_member = make_tar({"a.png": picture})
    size = 512 + -(-len(picture) // 512) * 512
    yield _case("a tar without end", at_a_member[:size], kind=TAR)
    wrong = at_a_member[:size] + b"\1" * 512 + bytes(1024)
    yield _case("a tar with a bad second header", wrong, kind=TAR)
    long_names = tarfile.TarInfo("././@LongLink")
    long_names.type, long_names.size = tarfile.GNUTYPE_LONGNAME, 0
    yield _case("a chain of long names", long_names.tobuf() * 5000 + at_a_member, kind=TAR)
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, MAX_DIRECTORY_BYTES + 512
    yield _case("a header of 16 MB", header.tobuf() + bytes(header.size) + at_a_member, kind=TAR)
    header.size = 8**11 - 1
    yield _case("a header of 8 GB", header.tobuf() + at_a_member, kind=TAR)
    local = bytearray(make_zip({"a.png": picture}))
    local[18:26] = b"\xff" * 8
    yield _case("a zip with other sizes at its member", bytes(local), EITHER)


def _mislabelled(picture: bytes) -> Iterator[Case]:
    files = {"a.png": picture}
    bodies = {"zip": make_zip(files), "tar": make_tar(files), "gz": make_tar(files, "w:gz")}
    right = {"zip": ZIP, "tar": TAR, "gz": GZIP}
    for name, body in {**bodies, "picture": picture, "text": b"{}"}.items():
        for kind in (ZIP, TAR, GZIP):
            if right.get(name) != kind:
                yield _case(f"a {name} as {kind}", body, kind=kind)
    encoding = {"Content-Encoding": "gzip"}
    yield Case(
        "archive", "compressed", gzip.compress(bodies["zip"]), REFUSED, ZIP, headers=encoding
    )
    for name, body in bodies.items():
        yield _case(f"a {name} in order", body, ANSWERED, f"{right[name].upper()}; charset=binary")
