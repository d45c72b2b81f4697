"""Reads the pictures of tar and zip archives, trusting nothing that an archive says of itself.

Nothing is unpacked to files: members are read into memory one at a time, when they are asked for.
What is wrong with an archive as a whole is found before its first picture is read.
"""

import gzip
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import IO, NamedTuple, Protocol

from serving.pictures.cancellation import Cancelled, still_wanted
from serving.pictures.limits import MAX_BODY_BYTES, MAX_PICTURES
from serving.problems import RequestError

MAX_ENTRIES = 10 * MAX_PICTURES
"""Maximum number of entries of an archive, with directories and files that are skipped."""
MAX_DIRECTORY_BYTES = 16_000_000
"""Bytes that finding the members of an archive may read: its headers, without any picture."""
MAX_NAME = 1000
"""Maximum number of characters in the name of a member."""
PIECE_BYTES = 1 << 20

ZIP, TAR, GZIP = "zip", "tar", "tar.gz"
ARCHIVES = {
    b"application/zip": ZIP,
    b"application/x-zip-compressed": ZIP,
    b"application/x-tar": TAR,
    b"application/gzip": GZIP,
    b"application/x-gzip": GZIP,
    b"application/x-gtar": GZIP,
    b"application/x-tar+gzip": GZIP,
}
"""Media types of the archives that are accepted."""
NAMES = ("application/zip", "application/x-tar", "application/gzip")
"""Those that are registered or customary; the others are accepted alike."""
JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that desktops add to folders; they are skipped."""
MACOS_FOLDER = "__MACOSX"
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others are refused: the header of LZMA, for example, says how many gigabytes it takes."""
ENCRYPTED = 1
"""Bit in the flags of a zip's member."""


class Member(NamedTuple):
    """A picture that has not been read yet."""

    name: str | None
    """As the sender calls it: the path in an archive, or the file name of a form field."""
    read: Callable[[], bytes]
    """Returns the encoded picture; raises a `RequestError` if it cannot be read or is too large."""


class Held(Protocol):
    """What holds a file, which may be replaced by a copy of it."""

    file: IO[bytes]


class Stretch(NamedTuple):
    """Where a picture lies in a file."""

    held: Held
    start: int
    size: int

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            RequestError: they are more than a picture may have.
        """
        check_picture_bytes(self.size)
        self.held.file.seek(self.start)
        return self.held.file.read(self.size)


def check_picture_bytes(size: int) -> None:
    """Check that a picture is not larger than the body of a request with this picture may be.

    Raises:
        RequestError: it is.
    """
    if size > MAX_BODY_BYTES:
        raise RequestError(
            "body-too-large",
            f"the body has more than {MAX_BODY_BYTES // 1_000_000} MB; send a smaller picture.",
        )


def archive_members(held: Held, kind: str, size: int) -> list[Member]:
    """Find the pictures of an archive; files of desktops and directories are left out.

    Args:
        held: holds the file, which has to stay open while the members are read.
        kind: `ZIP` or `TAR`; `gunzip` makes the latter of `GZIP`.
        size: of the archive if it is a tar; for a zip, the most bytes that its pictures may have.

    Raises:
        RequestError: it is damaged, has too many entries, has none that counts as a picture, or
            has one that is a link or a device, is encrypted, or has a name that leads out of it.
    """
    find = _zip_members if kind == ZIP else _tar_members
    try:
        members = _pictures(find(held, size))
    except RequestError:
        raise
    except Exception:  # noqa: BLE001 - both parsers raise almost anything for damaged data
        raise _damaged(kind, "its headers cannot be read") from None
    if not members:
        raise RequestError("no-picture", "the archive holds no files; send one with pictures.")
    return members


def gunzip(packed: IO[bytes], plain: IO[bytes], limit: int) -> int:
    """Decompress a file into another one; returns the size of the latter, in bytes.

    Raises:
        RequestError: it is damaged, or has more than `limit` bytes.
        Cancelled: nobody waits any more.
    """
    size = 0
    packed.seek(0)
    try:
        with gzip.GzipFile(fileobj=packed) as stream:
            while size <= limit and (piece := stream.read(PIECE_BYTES)):
                still_wanted()
                size += len(piece)
                plain.write(piece)
    except Cancelled:
        raise
    except Exception:  # noqa: BLE001 - as above
        raise _damaged(GZIP, "its compressed data cannot be read") from None
    if size > limit:
        raise _too_much(limit)
    return size


def _pictures(entries: Iterator[Member | None]) -> list[Member]:
    """Return the members among the entries of an archive.

    Raises:
        RequestError: there are too many.
    """
    members: list[Member] = []
    for count, member in enumerate(entries):
        if count == MAX_ENTRIES:
            raise _too_many(f"{MAX_ENTRIES:,} entries")
        if member is not None:
            members.append(member)
        if len(members) > MAX_PICTURES:
            raise _too_many(f"{MAX_PICTURES:,} pictures")
    return members


class _Frugal:
    """A file that may be read only so far while the members of an archive are looked for.

    Both parsers read what a header tells them to, which may be gigabytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file
        self.left: float = MAX_DIRECTORY_BYTES

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self.left:
            size = int(min(self.left, MAX_DIRECTORY_BYTES)) + 1
        piece = self._file.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise _too_many(f"{MAX_DIRECTORY_BYTES // 1_000_000} MB of headers")
        return piece


def _zip_members(held: Held, limit: int) -> Iterator[Member | None]:
    """Yield the members of a zip, and None for each entry that is skipped."""
    frugal = _Frugal(held.file)
    archive = zipfile.ZipFile(frugal)
    frugal.left = float("inf")  # the directory has been read, and members have limits of their own
    size = 0
    for info in archive.infolist():
        name = _checked_name(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() or _is_junk(name):
            yield None
            continue
        if kind and kind != stat.S_IFREG:
            raise _bad(f"{name!r} is a link or a device; send files only")
        if info.flag_bits & ENCRYPTED:
            raise _bad(f"{name!r} is encrypted; send the archive without a password")
        if info.compress_type not in COMPRESSIONS:
            raise _bad(f"{name!r} is compressed in an unusual way; store or deflate it")
        size += info.file_size
        if size > limit:
            raise _too_much(limit)
        yield Member(name, partial(_read_zip, archive, info))


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    check_picture_bytes(info.file_size)
    try:
        with archive.open(info) as stream:
            content = stream.read(info.file_size)  # `read()` would decompress whatever there is
    except Exception:  # noqa: BLE001 - as above
        content = b""
    if len(content) < info.file_size:
        raise RequestError(
            "damaged-picture", "its data in the archive is damaged; make the archive again."
        )
    return content


def _tar_members(held: Held, size: int) -> Iterator[Member | None]:
    """Yield the members of a tar, and None for each entry that is skipped."""
    file = held.file
    file.seek(0)
    archive = tarfile.TarFile(fileobj=_Frugal(file))  # type: ignore[arg-type]  # as above
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # would keep the headers of all
        name = _checked_name(info.name)
        if info.isdir() or _is_junk(name):
            yield None
            continue
        if not info.isreg() or info.issparse():
            raise _bad(f"{name!r} is a link, a device or a sparse file; send plain files only")
        if info.offset_data + info.size > size:
            raise _damaged(TAR, f"it ends within {name!r}")
        yield Member(name, Stretch(held, info.offset_data, info.size).read)
    # `next` takes a damaged header for the end, which a block of zeros marks.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _damaged(TAR, "it has no end, or a damaged header")


def _checked_name(name: str) -> str:
    """Return a member's name as text that can be sent.

    Raises:
        RequestError: it is too long, or leads out of the archive.
    """
    if len(name) > MAX_NAME:
        raise _bad(f"a name has {len(name):,} characters; {MAX_NAME:,} are accepted")
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(ord(each) < ord(" ") for each in text):
        raise _bad(f"the name {text!r} leads out of it or has control characters; rename the file")
    return text


def _is_junk(name: str) -> bool:
    path = PurePosixPath(name)
    return MACOS_FOLDER in path.parts or path.name in JUNK or path.name.startswith("._")


def _bad(reason: str) -> RequestError:
    return RequestError("bad-archive", f"the archive cannot be used: {reason}.")


def _damaged(kind: str, reason: str) -> RequestError:
    return RequestError(
        "bad-archive",
        f"the body is no complete {kind} archive: {reason}; make it again, or correct the "
        "content type.",
    )


def _too_many(limit: str) -> RequestError:
    return RequestError(
        "archive-too-large", f"the archive has more than {limit}; divide it among requests."
    )


def _too_much(limit: int) -> RequestError:
    return RequestError(
        "archive-too-large",
        f"the archive unpacks to more than {limit // 1_000_000:,} MB; divide it among requests.",
    )
