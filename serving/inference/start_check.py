"""Finds the device of a server before the server starts.

    python -m serving.inference.start_check

It runs in a process of its own, because a driver of GPUs that has been started does not survive in
child processes. It imports little, because the start waits for it.
"""

import json

import click

from artifacts.commands import run_command
from artifacts.devices import current


@click.command()
def main() -> None:
    """Print the device as JSON, for the process that starts the workers."""
    click.echo(json.dumps(current()))


if __name__ == "__main__":
    run_command(main, "python -m serving.inference.start_check")
