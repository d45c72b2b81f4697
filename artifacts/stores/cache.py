"""Files that were pulled, kept by their sha256, so that none is transferred twice."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from artifacts.distribution import cache_folder
from artifacts.stores.location import Location, StoreError


def fetch(source: Location, sha256: str, target: Path, limit: int) -> int:
    """Put the file with this hash at `target`, transferring it only if it is not in the cache.

    A file enters the cache whole and verified, or not at all. One that was damaged there is
    transferred again.

    Args:
        source: where the file is.
        sha256: what the manifest says of it.
        target: the new file.
        limit: maximum number of bytes.

    Returns:
        Number of bytes that were transferred.

    Raises:
        StoreError: the file cannot be read, is too large, or has another hash.
    """
    kept = cache_folder() / "files" / sha256
    transferred = 0
    if not _holds(kept, sha256):
        transferred = _download(source, sha256, kept, limit)
    try:
        os.link(kept, target)  # artifacts are replaced and never written in place
    except OSError:  # another file system
        shutil.copyfile(kept, target)
    return transferred


def _holds(file: Path, sha256: str) -> bool:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _download(source: Location, sha256: str, kept: Path, limit: int) -> int:
    kept.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=".partial-", delete=False) as partial:
        path = Path(partial.name)
        try:
            for chunk in source.chunks(limit):
                digest.update(chunk)
                size += len(chunk)
                partial.write(chunk)
            partial.close()
            if digest.hexdigest() != sha256:
                raise StoreError(
                    f"{source.shown}: sha256 {digest.hexdigest()[:12]}… does not match the "
                    f"manifest's {sha256[:12]}…; it was altered or is being written. Push it again."
                )
            path.chmod(0o644)  # temporary files are private
            path.replace(kept)
        finally:
            path.unlink(missing_ok=True)
    return size
