"""Where the project is installed: its name, its extras, and the folder of its models."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from artifacts.errors import ArtifactError

DISTRIBUTION = "vitrine-vision"
"""The name in pyproject.toml. `vitrine` on PyPI is another project."""
ROOT = Path(__file__).parent.parent
"""The checkout, or the folder of packages that a wheel was installed in."""

PACKAGED = Path(__file__).parent / "models"
"""The models that come with the project."""


def is_checkout() -> bool:
    """Whether this code runs from a checkout of the project, not from an installed wheel."""
    return (ROOT / "pyproject.toml").is_file()


def install_command(*extras: str) -> str:
    """Return the shell command that installs these extras of pyproject.toml."""
    wanted = f"[{','.join(extras)}]"
    if is_checkout():
        return f"pip install -c constraints.txt -e '.{wanted}'"
    return f"pip install '{DISTRIBUTION}{wanted}'"


def artifacts_root() -> Path:
    """Return the folder of the artifacts: `VITRINE_ARTIFACTS`, or `models/` beside this file.

    If the variable holds the URL of a store, this is the folder that the server pulls it into; see
    `artifacts.stores.served`.
    """
    url = store_url()
    if url is not None:
        return cache_folder() / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(os.environ.get("VITRINE_ARTIFACTS") or PACKAGED)


def store_url() -> str | None:
    """Return the URL of the store that `VITRINE_ARTIFACTS` names; None if it names a folder."""
    given = os.environ.get("VITRINE_ARTIFACTS") or ""
    return given.rstrip("/") if "://" in given else None


def cache_folder() -> Path:
    """Return the folder of pulled files: `VITRINE_STORE_CACHE`, or one among the user's caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VITRINE_STORE_CACHE") or Path(caches, "vitrine"))


def check_writable(root: Path) -> None:
    """Check that artifacts may be written under a folder.

    Raises:
        ArtifactError: the folder is part of an installed wheel, which the next installation
            replaces, or a copy of a store, which the next start of a server replaces.
    """
    if root.resolve() == PACKAGED.resolve() and not is_checkout():
        raise ArtifactError(
            f"{root} belongs to the installed package and is not written to; set VITRINE_ARTIFACTS "
            "to a folder of your own. Models are then read from that folder alone."
        )
    if store_url() is not None and root == artifacts_root():
        raise ArtifactError(
            "VITRINE_ARTIFACTS names a store, and its copy here is not written to; set the "
            "variable to a folder, and `vitrine models push NAME URL` afterwards."
        )


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Wait until no other program writes under `root`, and have others wait meanwhile.

    The folder itself is locked, so that no file is added to it. Where the file system has no locks
    on folders, as some network file systems, nothing waits.
    """
    folder = os.open(root, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
