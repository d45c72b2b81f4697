"""The project's programs as processes that find torch imported: forks of one that has done it.

A small training takes longer to import its libraries than to train. In all else such a process is
what `python -m MODULE` is: its arguments, environment, working folder, signals, exit status and
what it prints are its own.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.commands import Done

ROOT = Path(__file__).parents[1]
PRELOADED = "tests.preloaded"


class Program:
    """A running `python -m MODULE ARGUMENTS`.

    Args:
        module: the program.
        arguments: of its command line.
        folder: its working folder.
        environment: all of its environment.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._out, self._err = (tempfile.NamedTemporaryFile() for _ in range(2))  # noqa: SIM115
        printed = (self._out.name, self._err.name)
        call = (module, list(arguments), folder, dict(environment), *printed)
        self._process = _server().Process(target=_become, args=call)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return Path(self._out.name).read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return Path(self._err.name).read_text()

    def send_signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self._process.join()

    def wait(self, timeout: float = 280) -> Done:
        """Wait until it ends; if that takes longer, end it and fail the test."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            pytest.fail(f"this took too long: {self.err}")
        return Done(self._process.exitcode, self.out, self.err)


@cache
def _server() -> ForkServerContext:
    """Start the process that all programs are forks of; it ends when this one does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # it imports from where it starts
        forkserver.ensure_running()
    return context


def _become(
    module: str, arguments: list[str], folder: Path, environment: dict[str, str], *printed: str
) -> None:
    """Become the program, in a process that has just been forked.

    Args:
        module: as of `Program`.
        arguments: as of `Program`.
        folder: as of `Program`.
        environment: as of `Program`.
        printed: files for what it prints to stdout and to stderr.
    """
    for descriptor, path in enumerate(printed, 1):
        with Path(path).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    assert PRELOADED in sys.modules, "it could not be imported"
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
