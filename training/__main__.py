"""`python -m training`: list, show, run and compare recipes."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts import Artifact, VitrineError, artifact_names
from artifacts.commands import json_option, print_json, run_command
from artifacts.datasets.registry import load
from artifacts.provenance import has_gpu
from training.artifact_commands import halve_command, headline, reference_command
from training.faces.commands import calibrate_command, import_dlib_command, import_mtcnn_command
from training.overrides import parse_changes, with_changes
from training.recipe import PROFILES, Profile, Recipe, load_recipe, load_recipes
from training.status import status

if TYPE_CHECKING:
    from training.history import DivergedError

REPORTS = Path("reports")

CLASSES = {"cifar10": 10, "mnist": 10, "stanford_cars": 196}


def default_profile() -> Profile:
    """Return `full` if there is a GPU, else `cpu`."""
    return "full" if has_gpu() else "cpu"


profile_option = click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=default_profile,
    show_default="full with a GPU, else cpu",
    help="full: the size of the study. cpu: sized for two cores. smoke: seconds, generated data.",
)


set_option = click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="SETTING=VALUE",
    help="Change a setting of the recipe, such as seed=1 or augment.cutout=0.",
)


@click.group()
def main() -> None:
    """Train recipes into artifacts."""


@main.command("list")
@json_option
@profile_option
@click.option("--data", is_flag=True, help="Also read the data sets, to see whether they changed.")
def list_command(profile: Profile, as_json: bool, data: bool) -> None:
    """List the recipes and whether their artifacts are up to date."""
    rows = [(recipe, status(recipe, compare_data=data)) for recipe in load_recipes(profile)]
    if as_json:
        print_json([{**asdict(r), "current": s.current, "reason": s.reason} for r, s in rows])
        return
    table = Table(
        Column("recipe", no_wrap=True), "study", "data", "epochs", "artifact", box=box.SIMPLE
    )
    for recipe, state in rows:
        shown = (recipe.study or "", recipe.data.name, str(recipe.epochs), state.reason)
        table.add_row(recipe.name, *shown)
    Console().print(table)


@main.command()
@click.argument("recipe")
@profile_option
@set_option
@click.option("--name", help="Name of the artifact that `run` would train.")
@json_option
def show(
    recipe: str, profile: Profile, changed: tuple[str, ...], name: str | None, as_json: bool
) -> None:
    """Show the settings, reported figures and numbers of parameters of RECIPE."""
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


@main.command("run")
@click.argument("recipe")
@profile_option
@click.option("--force", is_flag=True, help="Train even if the artifact is up to date.")
@set_option
@click.option(
    "--name", help="Name of the artifact trained with changed settings; --set requires it."
)
def run_one(
    recipe: str, profile: Profile, force: bool, changed: tuple[str, ...], name: str | None
) -> None:
    """Train RECIPE and write its artifact. An interrupted run continues where it stopped."""
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
    from training.run import run

    artifact = run(settings)
    if artifact is not None:
        click.echo(f"{artifact.manifest.name}: {headline(artifact.manifest)}; {artifact.path}")


@main.command("all")
@profile_option
def run_all(profile: Profile) -> None:
    """Train every recipe whose artifact is out of date. A failure does not stop the others."""
    failed, _ = train(load_recipes(profile))
    if failed:
        raise click.exceptions.Exit(1)


@main.command("study")
@click.argument("study")
@profile_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the comparison; under reports/studies by default.",
)
@click.option(
    "--train/--no-train",
    "training",
    default=True,
    help="Train missing systems first, or only compare those that exist.",
)
def study_command(study: str, profile: Profile, out: Path | None, training: bool) -> None:
    """Train the systems of STUDY (such as ladder) and compare them with its reported figures."""
    from training.figures import write_study_figures
    from training.study import compare, origin, study_recipes, write_comparison

    recipes = study_recipes(study, profile)
    failed, diverged = train(recipes) if training else (_missing(recipes), {})
    made = [recipe for recipe in recipes if recipe.name not in failed]
    if not made:
        raise VitrineError(
            f"study {study}: there is no artifact to compare. Train one first, with --train or "
            "`vitrine train run`."
        )
    name = f"{study}-smoke" if profile == "smoke" else study
    mark = ", generated pictures" if profile == "smoke" else ""
    title = f"Study {study}: reported and rebuilt (profile {profile}{mark})"
    folder = out or REPORTS / "studies" / name
    command = f"python -m training study {study} --profile {profile}"
    if not training:
        command += " --no-train"
    there = [recipe for recipe in made if recipe.name not in diverged]
    missing = [f"Not run: {name}; {reason}." for name, reason in failed.items()]
    about = [f"Command: `{command}`.", *origin(there), *missing]
    rows = []
    if any(recipe.loss.embeds for recipe in recipes):
        from training.faces.study import write_face_study

        write_face_study(there, title, about, folder)
    else:
        rows = compare(made, diverged)
        write_comparison(rows, title, about, folder)
    write_study_figures(study, recipes, rows, folder)
    for path in sorted(folder.iterdir()):
        click.echo(path)
    if failed and training:
        raise click.exceptions.Exit(1)


@main.command("results")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("RESULTS.md"),
    show_default=True,
    help="File to write.",
)
def results_command(out: Path) -> None:
    """Write one page with the comparisons of all studies."""
    from training.results import results

    out.write_text(results(), encoding="utf-8")
    click.echo(out)


@main.command("search")
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
    folder = out or REPORTS / "searches" / settings.artifact_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trials.csv").write_bytes(table(tried))
    (folder / "trials.png").write_bytes(plot(tried, settings.artifact_name))
    best = ", ".join(f"{key} {value:g}" for key, value in tried[0].settings.items())
    click.echo(f"best of {len(tried)}: validation error {tried[0].error:.4f} with {best}")
    click.echo(folder)


for _command in (
    calibrate_command,
    halve_command,
    import_dlib_command,
    import_mtcnn_command,
    reference_command,
):
    main.add_command(_command)


def _missing(recipes: Sequence[Recipe]) -> dict[str, str]:
    """Return the recipes without an artifact, in the form in which `train` returns failures."""
    there = artifact_names()
    return {r.name: "not trained" for r in recipes if r.artifact_name not in there}


def train(recipes: Sequence[Recipe]) -> tuple[dict[str, str], "dict[str, DivergedError]"]:
    """Train the recipes that are out of date and print a table; a failure does not stop the others.

    Returns:
        The reasons of failures by name of the recipe; and, by name too, the systems of a study that
        diverged, which is a result rather than a failure.
    """
    from training.history import DivergedError
    from training.run import run

    table = Table(Column("recipe", no_wrap=True), "result", "measured", box=box.SIMPLE)
    failed: dict[str, str] = {}
    diverged = {}
    for recipe in recipes:
        try:
            state = status(recipe)
            artifact = Artifact.open(recipe.artifact_name) if state.current else run(recipe)
        except DivergedError as error:
            if recipe.study:
                diverged[recipe.name] = error
            else:
                failed[recipe.name] = "it diverged"
            table.add_row(recipe.name, f"[yellow]diverged[/yellow] in epoch {error.epoch}", "")
            continue
        except (VitrineError, RuntimeError, OSError) as error:
            failed[recipe.name] = str(error).partition(": ")[
                0
            ]  # only what is wrong; what to do follows the colon
            table.add_row(recipe.name, f"[red]failed:[/red] {error}", "")
            continue
        shown = headline(artifact.manifest) if artifact else ""
        table.add_row(recipe.name, state.reason if state.current else "trained", shown)
    if os.environ.get("RANK", "0") == "0":
        Console().print(table)
    return failed, diverged


@main.command("download")
@click.argument("names", nargs=-1, type=click.Choice(["cifar10", "mnist"]))
def download_command(names: tuple[str, ...]) -> None:
    """Download data sets whose terms allow it (all of them by default)."""
    from training.download import BY_HAND, FETCHABLE, download

    for name in names or FETCHABLE:
        download(name)
        click.echo(f"{name}: {len(load(name, 'train')):,} training pictures")
    click.echo(BY_HAND)


def _classes(recipe: Recipe) -> int:
    """Return the number of classes; the data is read only if its name does not determine it."""
    base = recipe.data.name.partition("/")[0]
    return CLASSES.get(base) or len(load(recipe.data.name, "train").classes)


if __name__ == "__main__":
    run_command(main, "python -m training")
