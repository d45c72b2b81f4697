"""Checks, before a server starts, that its models and its device can be used.

    python -m serving.inference.start_check

It runs in a process of its own, because the one that starts the workers has no use for what it
imports, and because a driver of GPUs that has been started does not survive in child processes.
"""

import json

import click

from artifacts import VitrineError, artifact_names, artifacts_root
from artifacts.commands import run_command
from artifacts.devices import Device, current
from serving.inference.models import selected
from serving.inference.runtimes import chosen_runtime
from serving.settings import read_settings


def check_models(wanted: tuple[str, ...], names: list[str]) -> None:
    """Check that all models in `VITRINE_MODELS` exist.

    Args:
        wanted: names of models, with or without a version.
        names: names of the artifacts.

    Raises:
        VitrineError: one of them does not.
    """
    unknown = [name for name in wanted if not selected((name,), names)]
    if unknown:
        raise VitrineError(
            f"VITRINE_MODELS names {', '.join(unknown)}; under {artifacts_root()} there are: "
            f"{', '.join(names) or 'none'}."
        )


def check() -> Device:
    """Check the settings that need more than a look, and return the device.

    Raises:
        VitrineError: a model, a runtime or the device cannot be used.
    """
    settings = read_settings()
    chosen_runtime()
    check_models(settings.models, artifact_names())
    return current()


@click.command()
def main() -> None:
    """Print the device as JSON, for the process that starts the workers."""
    click.echo(json.dumps(check()))


if __name__ == "__main__":
    run_command(main, "python -m serving.inference.start_check")
