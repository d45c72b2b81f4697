"""`python -m analysis`: analyses served models."""

from importlib import import_module

import click

from artifacts.commands import run_command

COMMANDS = {
    "atlas": "atlas.command",
    "calibration": "calibration.command",
    "compare": "compare.command",
    "confusion": "confusion.command",
    "data": "data.command",
    "distances": "distances.command",
    "drift": "drift.command",
    "explain": "explain.command",
    "feature-maps": "feature_maps.command",
    "feedback": "feedback.command",
    "labels": "labels.command",
    "map": "tsne_map.command.command",
    "neighbours": "neighbours.command",
    "report": "report.command",
    "robustness": "corruptions.robustness_command",
    "sizes": "corruptions.sizes_command",
    "sparsity": "sparsity.command",
    "transfer": "transfer.command",
}
"""Where each command is defined, relative to this package."""


class Analyses(click.Group):
    """A group that imports a command when it is used: together, they take seconds to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].rpartition(".")
        command: click.Command = getattr(import_module(f"analysis.{module}"), name)
        return command


@click.group(cls=Analyses, context_settings={"max_content_width": 100})
def main() -> None:
    """Analyse served models. Each analysis writes a report as PNG, CSV and JSON.

    The pictures come from --images or --dataset. The answers come from a running server (--url) or
    from the artifact, which is opened in this process; the numbers are the same.

    \b
    vitrine analyse sparsity --model cifar10-gap --dataset cifar10:test --limit 1000
    vitrine analyse map --model cifar10-gap --images my/pictures --url http://127.0.0.1:3000
    """  # noqa: D301  \b tells click to keep the line breaks of a paragraph


if __name__ == "__main__":
    run_command(main, "python -m analysis")
