"""Commands on single recipes: list, show, run, publish and search."""

from dataclasses import asdict
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts.commands import json_option, print_json
from artifacts.datasets.registry import load
from training.commands.artifacts import headline
from training.commands.options import profile_option, set_option
from training.overrides import parse_changes, with_changes
from training.recipe import Profile, Recipe, load_recipe, load_recipes, load_recipes_of
from training.status import status

CLASSES = {"cifar10": 10, "mnist": 10, "stanford_cars": 196}
SEARCHES = Path("reports/searches")


@click.command("list")
@click.argument("files", metavar="[FILE.yaml]...", nargs=-1)
@json_option
@profile_option
@click.option("--data", is_flag=True, help="Also read the data sets, to see whether they changed.")
def list_command(files: tuple[str, ...], profile: Profile, as_json: bool, data: bool) -> None:
    """List the recipes and whether their artifacts are up to date.

    Lists the recipes that come with the project, or those of recipe files of your own.
    """
    if files:
        recipes = [recipe for file in files for recipe in load_recipes_of(file, profile)]
    else:
        recipes = load_recipes(profile)
    rows = [(recipe, status(recipe, compare_data=data)) for recipe in recipes]
    if as_json:
        print_json([{**asdict(r), "current": s.current, "reason": s.reason} for r, s in rows])
        return
    table = Table(
        Column("recipe", no_wrap=True),
        Column("data", overflow="ellipsis", no_wrap=True),
        Column("epochs", justify="right"),
        Column("artifact", overflow="ellipsis", no_wrap=True),
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for recipe, state in rows:
        table.add_row(recipe.name, recipe.data.name, str(recipe.epochs), state.short)
    console = Console(highlight=False)
    console.print(table)
    if not data:
        console.print("The data sets were not compared; --data does so.")


@click.command("show")
@click.argument("recipe")
@profile_option
@set_option
@click.option("--name", help="Name of the artifact that `run` would train.")
@json_option
def show_command(
    recipe: str, profile: Profile, changed: tuple[str, ...], name: str | None, as_json: bool
) -> None:
    """Show the settings, reported figures and numbers of parameters of RECIPE.

    RECIPE is a name, or the path of a recipe file, FILE.yaml or FILE.yaml:VARIANT.
    """
    settings = (
        with_changes(recipe, profile, changed, name)
        if name
        else load_recipe(recipe, profile, changes=parse_changes(changed))
    )
    import torch

    from training.networks import build, parameter_counts

    with torch.device("meta"):  # counts the weights without allocating them
        total, trainable = parameter_counts(build(settings.network, _classes(settings)))
    content = {**asdict(settings), "parameters": {"total": total, "trainable": trainable}}
    if as_json:
        print_json(content)
    else:
        Console().print_json(data=content)


@click.command("run")
@click.argument("recipe")
@profile_option
@click.option("--force", is_flag=True, help="Train even if the artifact is up to date.")
@set_option
@click.option(
    "--name", help="Name of the artifact trained with changed settings; --set requires it."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="File of the pre-trained weights: safetensors, or a torch state dict. It is checked and "
    "copied to where `vitrine train weights` says.",
)
@click.option(
    "--log-with",
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    multiple=True,
    help="Also tell a tracker of the run; see docs/train.md. May be given several times.",
)
def run_command(
    recipe: str,
    profile: Profile,
    force: bool,
    changed: tuple[str, ...],
    name: str | None,
    weights: Path | None,
    log_with: tuple[str, ...],
) -> None:
    """Train RECIPE and write its artifact. An interrupted run continues where it stopped.

    RECIPE is a name that `vitrine train list` shows, or the path of a recipe file, FILE.yaml or
    FILE.yaml:VARIANT.
    """
    if bool(changed) != bool(name):
        raise click.UsageError(
            "--set and --name go together: changed settings make a model with a name of its own."
        )
    settings = (
        with_changes(recipe, profile, changed, name) if name else load_recipe(recipe, profile)
    )
    state = status(settings)
    if state.current and not force:
        click.echo(f"{settings.artifact_name}: {state.reason}; --force trains it again.")
        return
    if weights is not None:
        from training.own_weights import take_weights

        click.echo(take_weights(settings, weights), err=True)
    from training.run import run
    from training.tracking import check_trackers

    check_trackers(log_with)
    artifact = run(settings, log_with)
    if artifact is not None:
        click.echo(f"{artifact.manifest.name}: {headline(artifact.manifest)}; {artifact.path}")


@click.command("publish")
@click.argument("run")
def publish_command(run: str) -> None:
    """Publish RUN, which is trained, but whose export or measurement failed or was interrupted.

    It is exported, calibrated, measured and written as an artifact, and nothing is trained. RUN is
    the name of the model, which is that of its folder under runs/ in the working folder.
    """
    from training.pending import publish_run

    artifact = publish_run(run)
    if artifact is not None:
        click.echo(f"{artifact.manifest.name}: {headline(artifact.manifest)}; {artifact.path}")


@click.command("search")
@click.argument("recipe")
@profile_option
@click.option(
    "--trials",
    type=click.IntRange(1),
    required=True,
    help="Total number of finished trials to reach.",
)
@click.option(
    "--storage", help="URL of the database of trials; an SQLite file under runs/ by default."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the table and the plot; under reports/searches by default.",
)
def search_command(
    recipe: str, profile: Profile, trials: int, storage: str | None, out: Path | None
) -> None:
    """Search settings of RECIPE at random. An interrupted search continues where it stopped."""
    settings = load_recipe(recipe, profile)
    from training.search import plot, search, table

    tried = search(recipe, profile, trials, storage)
    folder = out or SEARCHES / settings.artifact_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trials.csv").write_bytes(table(tried))
    data, command = settings.data.name, f"vitrine train search {recipe} --profile {profile}"
    drawn = plot(tried, f"{settings.artifact_name}, {data}", f"{command} --trials {trials}")
    (folder / "trials.png").write_bytes(drawn)
    best = ", ".join(f"{key} {value:g}" for key, value in tried[0].settings.items())
    click.echo(f"best of {len(tried)}: validation error {tried[0].error:.4f} with {best}")
    click.echo(folder)


def _classes(recipe: Recipe) -> int:
    """Return the number of classes; the data is read only if its name does not determine it."""
    base = recipe.data.name.partition("/")[0]
    return CLASSES.get(base) or len(load(recipe.data.name, "train").classes)
