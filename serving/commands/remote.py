"""Pictures in stores, which are listed and read as files of this machine are."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from artifacts.stores.location import FileStatus, Location, TooLargeError

READERS = 8
"""Files that are read from a store at the same time."""
MAX_BYTES = 64 << 20
"""Maximum size of a picture that is read from a store."""


@dataclass(frozen=True)
class RemotePicture:
    """A picture in a store; its text is its URL without secrets."""

    place: Location
    status: FileStatus | None = None
    """What the store said of it when its folder was listed."""

    def __str__(self) -> str:
        return self.place.shown

    def read_bytes(self) -> bytes:
        """Return the content.

        Raises:
            OSError: it is larger than a picture may be.
            StoreError: the store cannot be reached. Unlike what is wrong with a picture, this ends
                a run, which a later one takes up again.
        """
        try:
            return self.place.read(MAX_BYTES)
        except TooLargeError as error:
            raise OSError(str(error)) from None


Picture = Path | RemotePicture
"""Where the content of a picture is read from."""


def find_remote(place: Location, suffixes: frozenset[str]) -> dict[Picture, str]:
    """Return the picture that a URL names, or those of its folder, each with its name.

    What has one of the suffixes is a picture. The name is the path below the folder.

    Raises:
        StoreError: the store cannot be reached.
    """
    if PurePosixPath(place.shown).suffix.lower() in suffixes:
        return {RemotePicture(place): place.shown}
    return {
        RemotePicture(place / name, status): name
        for name, status in place.below().items()
        if PurePosixPath(name).suffix.lower() in suffixes
    }


def read_files(files: Sequence[Picture]) -> Iterator[bytes | OSError]:
    """Yield the content of each file, or why it cannot be read; those in stores side by side.

    Raises:
        StoreError: a store cannot be reached.
    """

    def read(file: Picture) -> bytes | OSError:
        try:
            return file.read_bytes()
        except OSError as error:
            return error

    if not any(isinstance(file, RemotePicture) for file in files):
        yield from map(read, files)
        return
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(read, files)
