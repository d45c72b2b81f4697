"""API keys in a file, which is read again when it changes."""

import logging
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from artifacts import VitrineError

if TYPE_CHECKING:
    from collections.abc import Callable

CHECK_SECONDS = 1.0
"""Time between two looks at the file."""

Key = TypeVar("Key")
log = logging.getLogger("bentoml.vitrine")  # a child of BentoML's logger: it shares its format


class KeyFile(Generic[Key]):
    """The keys in a file: entries separated by spaces or lines; `#` begins a comment.

    A file that is missing or not valid when it is looked at again does not count: the keys of
    before stay, so that a mistake neither locks everybody out nor lets anybody in.

    Args:
        path: of the file; it may be replaced, as a mounted secret is.
        parse: makes keys of entries.

    Raises:
        VitrineError: the file cannot be read, or an entry is not valid.
    """

    def __init__(self, path: Path, parse: "Callable[[list[str]], tuple[Key, ...]]") -> None:
        self._path = path
        self._parse = parse
        self._state = self._look()
        self._keys = self._read()
        self._next_look = monotonic() + CHECK_SECONDS

    def keys(self) -> tuple[Key, ...]:
        """Return the keys, from the file if that has changed."""
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + CHECK_SECONDS
            state = self._look()
            if state != self._state:
                self._state = state
                self._read_again()
        return self._keys

    def _read_again(self) -> None:
        try:
            self._keys = self._read()
        except VitrineError as error:
            log.error("the API keys stay as they were: %s", error)  # noqa: TRY400 - it says it all
        else:
            log.info("%d API keys were read from %s", len(self._keys), self._path)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[Key, ...]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise VitrineError(f"{self._path} cannot be read ({error}).") from None
        entries = [entry for line in lines for entry in line.partition("#")[0].split()]
        if not entries:
            raise VitrineError(f"{self._path} has no keys; `vitrine key NAME` makes one.")
        return self._parse(entries)
