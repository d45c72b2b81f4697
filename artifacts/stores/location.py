"""Places that URLs name: folders of files in object stores, on the Hugging Face Hub or the web."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, NamedTuple, Self, cast

from artifacts.distribution import install_command
from artifacts.errors import VitrineError

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "hf": "hub",
    "http": "http",
    "https": "http",
}
"""The extra of pyproject.toml that each protocol needs; `file` and `memory` need none."""
MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems call the time at which a file was last changed, the most telling name first."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""


class StoreError(VitrineError):
    """A store cannot be reached, or what is there is not what is expected."""


class TooLargeError(StoreError):
    """A file has more bytes than are read."""


def is_url(text: str) -> bool:
    """Return whether this names a place by its URL, and not a file or folder by its path."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text) is not None


def without_secrets(url: str) -> str:
    """Return a URL as messages show it: without a user's name, password and query."""
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?")[0]


class FileStatus(NamedTuple):
    """What a store says of a file; -1 where it says nothing."""

    size: int
    """In bytes."""
    modified: int
    """Time at which it was last changed, in nanoseconds since 1970."""


@dataclass(frozen=True)
class Location:
    """A file or folder in a store.

    Its methods raise StoreError, which says in one line what failed.
    """

    files: Any
    """File system of fsspec."""
    path: str
    """Within that file system, without a slash at the end."""
    shown: str
    """The URL without secrets, for messages."""

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the place that a URL names; nothing is transferred yet.

        Raises:
            StoreError: the protocol is unknown, or a package that it needs is not installed.
        """
        from fsspec.core import url_to_fs

        protocol = url.partition("://")[0]
        shown = without_secrets(url).rstrip("/")
        options = {"auto_mkdir": True} if protocol in ("file", "local") else {}
        try:
            files, path = url_to_fs(url, use_listings_cache=False, **options)
        except ImportError as error:
            raise StoreError(f"{shown}: {_what_to_install(protocol, error)}") from None
        except ValueError as error:
            accepted = ", ".join(f"{each}://" for each in ("file", *EXTRAS, "memory"))
            raise StoreError(
                f"{shown}: {error}. URLs begin with {accepted}, or another protocol of fsspec."
            ) from None
        return cls(files, path.rstrip("/"), shown)

    def __truediv__(self, name: str) -> "Location":
        """The file or folder of this name in this folder."""
        return Location(self.files, f"{self.path}/{name}", f"{self.shown}/{name}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Report whatever a file system raises as a StoreError of one line."""
        try:
            yield
        except VitrineError:
            raise
        except FileNotFoundError:
            raise StoreError(f"{self.shown}: there is no such file or folder.") from None
        except Exception as error:  # each file system has exceptions of its own
            text = re.sub(r"\?\S+|[^\s/\"']+@", "", " ".join(str(error).split()))  # secrets of URLs
            raise StoreError(f"{self.shown}: {type(error).__name__}: {text[:300]}") from error

    def exists(self) -> bool:
        """Whether there is such a file; on the web, one that cannot be asked for is not there."""
        with self.reaching():
            try:
                return bool(self.files.info(self.path)["type"] == "file")
            except FileNotFoundError:
                return False

    def entries(self) -> dict[str, bool]:
        """Return the names in this folder, sorted, and whether each is a folder.

        There are none if the folder does not exist. On the web, the names are the links of a page.
        """
        with self.reaching():
            try:
                listed = self.files.ls(self.path, detail=True)
            except FileNotFoundError:
                return {}
        found = {
            each["name"].rstrip("/").rpartition("/")[2]: each["type"] == "directory"
            for each in listed
        }
        return dict(sorted(found.items()))

    def below(self) -> dict[str, FileStatus]:
        """Return all files below this folder by their sorted paths, relative to it."""
        with self.reaching():
            found = self.files.find(self.path, detail=True)
            return {
                path.removeprefix(self.path).lstrip("/"): _status(found[path])
                for path in sorted(found)
            }

    def chunks(self, limit: int) -> Iterator[bytes]:
        """Yield the content of this file piece by piece.

        Raises:
            TooLargeError: it has more than `limit` bytes, whatever the store says of its size.
        """
        read = 0
        with self.reaching(), cast("IO[bytes]", self.files.open(self.path, "rb")) as file:
            while chunk := file.read(CHUNK):
                read += len(chunk)
                if read > limit:
                    raise TooLargeError(f"{self.shown}: has more than the {limit:,} bytes allowed.")
                yield chunk

    def read(self, limit: int) -> bytes:
        """Return the content of this file; see `chunks`."""
        return b"".join(self.chunks(limit))

    def write(self, content: bytes) -> None:
        """Write this file."""
        with self.reaching():
            self.files.pipe_file(self.path, content)


def _status(about: Mapping[str, Any]) -> FileStatus:
    """Read what a file system lists of a file; each has names of its own for the time."""
    changed = next((about[name] for name in MODIFIED if about.get(name) is not None), None)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return FileStatus(
        size=-1 if about.get("size") is None else int(about["size"]),
        modified=-1 if changed is None else int(changed * 1e9),
    )


def _what_to_install(protocol: str, error: ImportError) -> str:
    if protocol in EXTRAS:
        return (
            f"{protocol}:// needs a package that is not installed; install it: "
            f"{install_command(EXTRAS[protocol])}"
        )
    from fsspec.registry import known_implementations

    known = known_implementations.get(protocol, {})
    return f"a package is not installed. {known.get('err') or error}"
