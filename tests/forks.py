"""`python -m MODULE` as a fork of a process that has imported libraries, which takes long.

In all else such a program is what the command is: its arguments, environment, working folder,
signals, exit status and what it prints are its own. It ends with the process that has started it.

As a program, this module is the `python` of such programs, so that what they start are forks, too.
"""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARENTS: list[subprocess.Popen[bytes]] = []
"""Those that this process has started; nobody waits for them."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Fork:
    """A running `python -m MODULE ARGUMENTS`, with the methods of `subprocess.Popen`.

    Args:
        address: of the parent process, from `parent`.
        command: the program's module and its arguments.
        folder: its working folder.
        environment: all of its environment.
        descriptors: its stdin, stdout and stderr.
        session: whether it leads a session of its own, as servers do.
        executable: what it takes for its Python.
    """

    def __init__(
        self,
        address: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        descriptors: Sequence[int] = (0, 1, 2),
        *,
        session: bool = False,
        executable: str = sys.executable,
    ) -> None:
        request = {
            "command": list(command),
            "folder": str(folder),
            "environment": dict(environment),
            "session": session,
            "executable": executable,
        }
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        socket.send_fds(self._connection, [b"\n"], descriptors)
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self._answer()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if (status := self._ended(timeout)) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            answered = select.poll()  # `select.select` knows no more than 1,024 files
            answered.register(self._connection, select.POLLIN)
            if answered.poll(None if timeout is None else timeout * 1000):
                self.returncode = self._answer()
                self._connection.close()
        return self.returncode

    def _answer(self) -> int:
        answer = self._connection.recv(4, socket.MSG_WAITALL)
        assert answer, "the parent process has ended"
        return int.from_bytes(answer, "big", signed=True)


def start(
    preloaded: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    printed: Sequence[Path],
    *,
    session: bool = False,
) -> Fork:
    """Start a program.

    Args:
        preloaded: the module that imports the libraries.
        command: as of `Fork`, as are those that are not named here.
        folder: as of `Fork`.
        environment: as of `Fork`.
        printed: files for what it prints to stdout and to stderr; if there is one, for both.
        session: as of `Fork`; what such a program starts are no forks.
    """
    address = parent(preloaded)
    executable = sys.executable if session else _python(address)
    with (
        Path(os.devnull).open("rb") as nothing,
        printed[0].open("ab") as out,
        printed[-1].open("ab") as err,
    ):
        descriptors = [file.fileno() for file in (nothing, out, err)]
        return Fork(
            address,
            command,
            folder,
            environment,
            descriptors,
            session=session,
            executable=executable,
        )


@cache
def parent(preloaded: str) -> str:
    """Return the address of the process that programs are forks of, and start it if need be.

    There is one for all processes of a run of the tests. It ends, and so do its forks, when the
    run does.
    """
    address = f"{tempfile.gettempdir()}/{preloaded}"
    with Path(f"{address}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(address).exists():
            return address
        program = Path(_python(address))
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -SE "{__file__}" "{address}" "$@"\n'
        )
        program.chmod(0o700)
        run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            number = listener.fileno()
            command = [sys.executable, "-m", "tests.forking", preloaded, str(number), str(run)]
            PARENTS.append(subprocess.Popen(command, cwd=ROOT, pass_fds=[number]))
    return address


def python(preloaded: str) -> str:
    """The path of a Python whose `-m MODULE` is a fork."""
    return _python(parent(preloaded))


def _python(address: str) -> str:
    """The program that is this module, as forks of a parent call it."""
    return f"{address}-python"


def main(address: str, arguments: list[str]) -> None:
    """Be `python ARGUMENTS`: a fork if a module is to be run, else Python itself."""
    while arguments[0] == "-u":
        os.environ["PYTHONUNBUFFERED"] = "1"
        arguments = arguments[1:]
    if arguments[0] != "-m":
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    fork = Fork(address, arguments[1:], Path.cwd(), os.environ, executable=_python(address))
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(fork.pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    status = fork.wait()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
