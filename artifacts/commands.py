"""Helpers that all command lines of the project share."""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import click

from artifacts.distribution import install_command
from artifacts.errors import VitrineError

EXTRAS = {"analysis": "analyse", "serving": "serve", "training": "train"}
"""The extra of pyproject.toml that each package needs; `artifacts` needs none."""


def run_command(command: click.Command, program: str) -> None:
    """Run a click command; report errors as one line on stderr and with a non-zero exit status.

    The status is 1 for errors of the project and for packages of an extra that is not installed, 2
    for wrong usage and 130 for an interruption.
    """
    try:
        code = command.main(prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else program
        _fail(f"{error.format_message()} Try: {where} --help", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except VitrineError as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        _fail_without_extra(error)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


@contextlib.contextmanager
def missing_extras_in_one_line(module: str) -> Iterator[None]:
    """Report a package of an extra that is not installed in one line, around a program's imports.

    Args:
        module: Name of the module that imports; only `__main__` is a program. Others raise
            ModuleNotFoundError, which `run_command` reports.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if module != "__main__":
            raise
        _fail_without_extra(error)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the `--json` flag that every command with a result has."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(
        function
    )


def print_json(value: object) -> None:
    """Print a JSON value on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _fail_without_extra(error: ModuleNotFoundError) -> None:
    """Name the missing package and how to install it; raise the error if it is of no extra."""
    extra = _extra_of(error)
    if extra is None:
        raise error
    missing = (error.name or "").partition(".")[0]
    _fail(f"{missing} is not installed; install it: {install_command(extra)}", 1)


def _extra_of(error: ModuleNotFoundError) -> str | None:
    """The extra that provides what could not be imported; None if that is no package of an extra.

    The outermost of the project's packages decides: `analysis` needs its own extra, even if the
    import failed in a module of `serving`.
    """
    if (error.name or "").partition(".")[0] in {"artifacts", *EXTRAS}:
        return None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        spec = frame.f_globals.get("__spec__")  # its name is the module's, even as `__main__`
        package = spec.name.partition(".")[0] if spec else ""
        if package in EXTRAS:
            return EXTRAS[package]
    return None


def _fail(message: str, status: int) -> None:
    click.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(status)
