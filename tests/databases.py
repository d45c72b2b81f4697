"""A real PostgreSQL server for the tests, if the distribution's package is installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.server import free_port

MISSING = "no PostgreSQL server is installed; apt-get install postgresql brings it"


def postgresql_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`; None if they are not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextmanager
def running_postgresql(programs: Path) -> Iterator[str]:
    """Run a server on loopback; yields the URL of its database `postgres`."""
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    home = Path(tempfile.mkdtemp(prefix="vitrine-postgresql-"))
    if user is not None:
        shutil.chown(home, user)
    port = free_port()
    data = home / "data"
    initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "vitrine", "-E", "UTF8"]
    subprocess.run(initdb, user=user, cwd=home, check=True, capture_output=True)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", home, "-c", "fsync=off"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], user=user, cwd=home, stderr=log
        )
    url = f"postgresql://vitrine@127.0.0.1:{port}/postgres"
    try:
        _wait(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)  # immediate shutdown, because its data is thrown away
        server.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def new_database(url: str, name: str) -> str:
    """Create a database on the server of `url`; returns its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        )
    return f"{url.rpartition('/')[0]}/{name}"


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
