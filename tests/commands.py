"""The project's commands, run in this process: a process of their own takes seconds to start."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import click
import pytest

from artifacts.commands import run_command


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


def run_in_process(main: click.Command, program: str, *arguments: object, typed: str = "") -> Done:
    """Run a command as `python -m PROGRAM ARGUMENTS` does.

    Any exception that would end the program with a traceback fails the test.

    Args:
        main: the program's command.
        program: its name, such as `training`.
        arguments: of the command line.
        typed: what the command reads from stdin.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [program, *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as end:
            run_command(main, f"python -m {program}")
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())
