"""The temporary folder that all processes of one server share."""

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from artifacts import VitrineError
from serving.settings import RUN_VARIABLE

PARENT_FILE = "parent"
"""File of the run folder that holds the process id of the process that starts the workers."""
LOCK_FILE = "lock"
"""File of a folder that is locked as long as the process that made it, or a fork of it, runs."""


def has_run_folder() -> bool:
    """Whether `run_folder` has been made, by this process or by the one that started it."""
    return RUN_VARIABLE in os.environ


def run_folder() -> Path:
    """A temporary folder that the workers of this server share, and nobody else.

    It is made once, by the process that starts the workers, and handed on to them in `VITRINE_RUN`.

    Raises:
        VitrineError: no folder can be made.
    """
    if not has_run_folder():
        try:
            folder = temporary_folder("vitrine-")
        except OSError as error:
            raise VitrineError(
                f"no temporary folder can be made ({error.strerror}); set TMPDIR to a folder that "
                "can be written to."
            ) from None
        (folder / PARENT_FILE).write_text(str(os.getpid()), encoding="ascii")
        os.environ[RUN_VARIABLE] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(os.environ[RUN_VARIABLE])


def temporary_folder(prefix: str, parent: Path | None = None) -> Path:
    """Make a temporary folder, and remove those that processes left that were killed.

    Args:
        prefix: of the folder's name, by which abandoned folders are found.
        parent: the folder in which it is made; None is the one for temporary files.

    Raises:
        OSError: no folder can be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    for path in parent.glob(f"{prefix}*/{LOCK_FILE}"):
        with suppress(OSError), path.open("rb") as file:  # an OSError: it is in use, or gone
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(folder / "new-lock", os.O_CREAT | os.O_RDONLY, 0o600)  # open until the end
    with suppress(OSError):  # a file system without locks: then nobody can remove it, either
        fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "new-lock").rename(folder / LOCK_FILE)
    return folder
