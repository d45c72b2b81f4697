"""Notices that artifacts or indexes of pictures were added, replaced or removed."""

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from artifacts.names import MANIFEST_FILE
from serving.indexes.manifest import FOLDER
from serving.indexes.manifest import MANIFEST_FILE as INDEX_MANIFEST_FILE

log = logging.getLogger("bentoml.vitrine")


class FolderWatch:
    """Compares the folder of the artifacts with what it was when it was last loaded.

    Files are compared by name, size, time of change and inode, so that a check reads none of them.
    Folders without a manifest and hidden ones, where artifacts are written, do not count.

    Args:
        root: folder of the artifacts; it is only read.
        memory: file for the fingerprint of the artifacts that were loaded last. A worker that is
            restarted therefore notices what changed in the meantime.
    """

    def __init__(self, root: Path, memory: Path) -> None:
        self._root = root
        self._memory = memory
        self._last: str | None = None
        self._doubt = ""

    def remember(self, *, unless_known: bool) -> None:
        """Record the present artifacts, which are about to be loaded.

        Args:
            unless_known: keep an older record if there is one.
        """
        if unless_known and self._memory.exists():
            return
        try:
            state = fingerprint(self._root) or ""
        except OSError:
            state = ""
        fresh = self._memory.with_suffix(".new")
        fresh.write_text(state, encoding="ascii")
        fresh.replace(self._memory)

    def changed(self) -> bool:
        """Return whether there are other artifacts than were last loaded.

        They count only if they are the same at two checks, so that a copy in progress is not read.
        A folder that is unreadable or without any artifact is more likely not mounted than
        intended: it is logged once, and does not count as changed.
        """
        try:
            now = fingerprint(self._root)
        except OSError as error:
            self._warn(f"cannot be read ({error.strerror})")
            return False
        if now is None:
            self._warn("holds no artifact any more")
            return False
        self._doubt = ""
        settled, self._last = now == self._last, now
        return settled and now != self._loaded()

    def _loaded(self) -> str:
        """Return the fingerprint of the artifacts that were loaded last; empty for none."""
        return self._memory.read_text(encoding="ascii")

    def _warn(self, doubt: str) -> None:
        self._last = None
        if doubt != self._doubt and self._loaded():
            log.warning(
                "%s %s; the models that are loaded go on answering. "
                "POST /v1/models:reload loads what is there.",
                self._root,
                doubt,
            )
        self._doubt = doubt


def fingerprint(root: Path) -> str | None:
    """Return a hash of the names, sizes, times and inodes of all artifacts; None without artifacts.

    The manifests of the indexes of pictures count, too: one is written whenever an index changes.

    Raises:
        OSError: the folder cannot be read.
    """
    found: list[tuple[str, list[Any]]] = []
    with os.scandir(root) as folders:
        names = sorted(folder.name for folder in folders if not folder.name.startswith("."))
    for name in names:
        try:
            with os.scandir(root / name) as files:
                states = sorted((file.name, *_state(file)) for file in files)
        except OSError:  # a plain file, or a folder that was replaced at this moment
            continue
        if any(state[0] == MANIFEST_FILE for state in states):
            found.append((name, states))
    if not found:
        return None
    for manifest in sorted(root.glob(f"{FOLDER}/*/[!.]*/{INDEX_MANIFEST_FILE}")):
        with suppress(OSError):  # replaced at this moment
            status = manifest.stat()
            found.append((str(manifest), [(status.st_size, status.st_mtime_ns, status.st_ino)]))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _state(file: "os.DirEntry[str]") -> tuple[int, int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:  # a link to nothing
        status = file.stat(follow_symlinks=False)
    return status.st_size, status.st_mtime_ns, status.st_ino
