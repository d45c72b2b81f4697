"""The project's programs of training as processes that find torch imported.

A small training takes longer to import its libraries than to train.
"""

import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.commands import Done
from tests.forks import start

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
        self._files = [tempfile.NamedTemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._out, self._err = (Path(file.name) for file in self._files)
        printed = (self._out, self._err)
        self._fork = start(PRELOADED, [module, *arguments], folder, environment, printed)
        self.pid = self._fork.pid

    @property
    def running(self) -> bool:
        return self._fork.poll() is None

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return self._err.read_text()

    def send_signal(self, number: int) -> None:
        self._fork.send_signal(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self._fork.wait()

    def wait(self, timeout: float = 280) -> Done:
        """Wait until it ends; if that takes longer, end it and fail the test."""
        try:
            status = self._fork.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"this took too long: {self.err}")
        return Done(status, self.out, self.err)
