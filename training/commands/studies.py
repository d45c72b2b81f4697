"""Commands on studies: study and results."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts import Artifact, VitrineError, artifact_names
from training.commands.artifacts import headline
from training.commands.options import profile_option
from training.recipe import Profile, Recipe
from training.status import status

if TYPE_CHECKING:
    from training.history import DivergedError

REPORTS = Path("reports/studies")


@click.command("study")
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
@click.option(
    "--seeds",
    type=click.IntRange(2),
    help="Train with so many seeds instead, and write how far the results depend on them.",
)
@click.option(
    "--only", multiple=True, metavar="SYSTEM", help="With --seeds: a system of the study; repeat."
)
def study_command(
    study: str,
    profile: Profile,
    out: Path | None,
    training: bool,
    seeds: int | None,
    only: tuple[str, ...],
) -> None:
    """Train the systems of STUDY (such as ladder) and compare them with its reported figures."""
    if seeds is not None:
        _compare_seeds(study, profile, out, seeds, only, training=training)
        return
    if only:
        raise VitrineError("--only goes with --seeds; a comparison has all systems of a study.")
    from training.study import study_recipes

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
    folder = out or REPORTS / name
    command = f"python -m training study {study} --profile {profile}"
    if not training:
        command += " --no-train"
    _write_study(recipes, failed, diverged, title, command, folder)
    for path in sorted(folder.iterdir()):
        click.echo(path)
    if failed and training:
        raise click.exceptions.Exit(1)


def _write_study(
    recipes: Sequence[Recipe],
    failed: Mapping[str, str],
    diverged: "Mapping[str, DivergedError]",
    title: str,
    command: str,
    folder: Path,
) -> None:
    """Write the comparison of a study and its figures.

    Systems without an artifact keep the row that an earlier comparison in the folder gave them.
    """
    from training.comparison import read_comparison, write_comparison
    from training.figures import write_study_figures
    from training.study import compare, origin, origin_line

    made = [recipe for recipe in recipes if recipe.name not in failed]
    there = [recipe for recipe in made if recipe.name not in diverged]
    profile = recipes[0].profile
    before = {row.system: row for row in read_comparison(folder) if row.profile == profile}
    lost = [recipe for recipe in recipes if recipe.name in failed]
    kept = [before[recipe.artifact_name] for recipe in lost if recipe.artifact_name in before]
    missing = [
        f"Kept from an earlier comparison: {recipe.name}."
        if recipe.artifact_name in before
        else f"Not run: {recipe.name}; {failed[recipe.name]}."
        for recipe in lost
    ]
    about = [f"Command: `{command}`.", *origin(there, kept), *missing]
    rows = []
    if any(recipe.loss.embeds for recipe in recipes):
        from training.faces.study import write_face_study

        write_face_study(there, title, about, folder)
    else:
        found = {row.system: row for row in [*kept, *compare(made, diverged)]}
        rows = [found[r.artifact_name] for r in recipes if r.artifact_name in found]
        write_comparison(rows, title, about, folder)
    write_study_figures(recipes[0].study or "", recipes, rows, folder, origin_line(about))


@click.command("results")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("RESULTS.md"),
    show_default=True,
    help="File to write.",
)
def results_command(out: Path) -> None:
    """Write one page with the comparisons of all studies, and its picture."""
    from training.results import write_results

    for path in write_results(out):
        click.echo(path)


def _compare_seeds(
    study: str,
    profile: Profile,
    out: Path | None,
    seeds: int,
    only: tuple[str, ...],
    *,
    training: bool,
) -> None:
    """Train systems of a study with several seeds and write what they have in common."""
    from training.seeds import with_seeds, write_seeds
    from training.study import study_recipes

    recipes = study_recipes(study, profile)
    unknown = [name for name in only if name not in {recipe.name for recipe in recipes}]
    if unknown or any(recipe.loss.embeds for recipe in recipes):
        known = ", ".join(recipe.name for recipe in recipes if not recipe.loss.embeds)
        raise VitrineError(f"--seeds compares the accuracy of classifiers; choose of: {known}.")
    groups = with_seeds([r for r in recipes if not only or r.name in only], seeds)
    every = [recipe for group in groups.values() for recipe in group]
    failed, diverged = train(every) if training else (_missing(every), {})
    lost = failed | {name: f"diverged in epoch {e.epoch}" for name, e in diverged.items()}
    made = {name: [r for r in group if r.name not in lost] for name, group in groups.items()}
    made = {name: group for name, group in made.items() if group}
    if not made:
        raise VitrineError(f"study {study}: no model was trained, so there is nothing to compare.")
    words = ["python", "-m", "training", "study", study, "--profile", profile]
    words += ["--seeds", str(seeds), *(word for name in only for word in ("--only", name))]
    about = [
        f"Command: `{' '.join(words)}`.",
        *(f"Not here: {n}; {why}." for n, why in lost.items()),
    ]
    folder = out or REPORTS / study
    write_seeds(study, made, about, folder)
    for path in sorted(folder.glob("seeds.*")):
        click.echo(path)
    if failed and training:
        raise click.exceptions.Exit(1)


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
