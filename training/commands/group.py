"""The group of commands `vitrine train`."""

from importlib import import_module
from pathlib import Path

import click

from training.commands.all import all_command
from training.commands.artifacts import (
    halve_command,
    known_command,
    reference_command,
    remeasure_command,
)
from training.commands.data import download_command
from training.commands.init import init_command
from training.commands.recipes import (
    list_command,
    publish_command,
    run_command,
    search_command,
    show_command,
)
from training.commands.studies import results_command, study_command
from training.commands.watch import watch_command
from training.commands.weights import weights_command
from training.faces.commands import calibrate_command, import_dlib_command, import_mtcnn_command
from training.recipe_file import nearest
from training.recipe_paths import Reference

PICTURES = "training.pictures.command:pictures_command"
"""The command that trains on a folder or table of pictures; it is imported when it runs."""


class TrainGroup(click.Group):
    """A group whose first argument is a command, or a folder or table of pictures."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` names, or the one that trains on pictures.

        Raises:
            UsageError: The first argument is neither a command nor a path.
        """
        first = args[0]
        if self.get_command(ctx, first) is not None:
            return super().resolve_command(ctx, args)
        if not Path(first).exists():
            ctx.fail(
                f"{first!r} is neither a command nor an existing folder or table of pictures. "
                f"{nearest(first, self.list_commands(ctx))}The commands are: "
                f"{', '.join(self.list_commands(ctx))}."
            )
        if Reference.parse(first) is not None and Path(first).suffix.lower() in (".yaml", ".yml"):
            ctx.fail(f"{first} is a recipe file; train it by: vitrine train run {first}")
        module, _, attribute = PICTURES.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return "", command, args

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both usages."""
        super().format_usage(ctx, formatter)
        formatter.write_usage(ctx.command_path, "PICTURES --name NAME [OPTIONS]", "       ")


@click.group(cls=TrainGroup)
def main() -> None:
    """Train models, on pictures of your own or by recipes.

    PICTURES is a folder with a folder of pictures per class, or a table of pictures and labels. If
    it has the name of a command, write ./NAME.

    \b
    vitrine train ./photos --name pets        train on your own pictures
    vitrine train ./photos --help             list the options of that
    vitrine train run cifar10-gap             train a recipe of the project
    vitrine train run my.yaml                 train a recipe of your own
    """  # noqa: D301  \b tells click to keep the line breaks of a paragraph


for _command in (
    list_command,
    show_command,
    run_command,
    watch_command,
    publish_command,
    init_command,
    search_command,
    all_command,
    study_command,
    results_command,
    download_command,
    weights_command,
    calibrate_command,
    halve_command,
    known_command,
    import_dlib_command,
    import_mtcnn_command,
    reference_command,
    remeasure_command,
):
    main.add_command(_command)
