"""`vitrine`: every command of the project in one group.

A part is imported when its command runs, so that `vitrine --help` is quick and lists everything
even where the packages of an extra are not installed.
"""

from importlib import import_module

import click

from artifacts.commands import run_command

COMMANDS = {
    "serve": ("serving.commands.server:run", "Serve the models over HTTP."),
    "classify": ("serving.commands.ask:classify", "Name the most probable classes of pictures."),
    "index": ("serving.commands.index:index", "Index a folder of pictures, to search it."),
    "neighbours": ("serving.commands.ask:neighbours", "Find the pictures like a given one."),
    "faces": ("serving.__main__:faces", "Compare, enrol and identify faces."),
    "feedback": ("serving.commands.feedback:feedback", "Show, export and erase feedback."),
    "settings": ("serving.commands.server:settings", "List every setting of the server."),
    "key": ("serving.commands.server:key", "Make an API key."),
    "import": (
        "artifacts.imports.command:import_command",
        "Make an artifact of an ONNX file.",
    ),
    "models": ("artifacts.__main__:main", "List, show, verify and quantize models."),
    "train": ("training.__main__:main", "Train on your own pictures, or by recipes."),
    "analyse": ("analysis.__main__:main", "Look into served models."),
}
"""Where each command is defined, and what the group's help says about it."""


class LazyGroup(click.Group):
    """A group that lists placeholders, and imports the command that is to run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Replace the placeholder by the command itself."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        if name is None or placeholder is None:
            return name, placeholder, rest
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return name, command, rest

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names in the order of `COMMANDS`."""
        return list(self.commands)


@click.group(cls=LazyGroup)
def group() -> None:
    """Train, serve and look inside vision models."""


for _name, (_, _help) in COMMANDS.items():
    group.add_command(click.Command(_name, short_help=_help))


def main() -> None:
    """Run the command line; see `artifacts.commands.run_command`."""
    run_command(group, "vitrine")


if __name__ == "__main__":
    main()
