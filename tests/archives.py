"""Archives of pictures, for tests."""

import tarfile
import zipfile
from collections.abc import Mapping
from io import BytesIO

ZIP = "application/zip"
TAR = "application/x-tar"
GZIP = "application/gzip"


def make_zip(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip with these files; a name that ends in `/` is a directory."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


def make_tar(files: Mapping[str, bytes], mode: str = "w", kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar, or with mode `w:gz` a compressed one; a name that ends in `/` is a directory.

    Args:
        files: content by name.
        mode: of `tarfile.open`.
        kind: type of the entries that are no directories.
    """
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as file:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else kind
            info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            info.size = len(content) if info.isreg() else 0
            file.addfile(info, BytesIO(content))
    return archive.getvalue()
