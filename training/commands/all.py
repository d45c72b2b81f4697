"""The command that trains all recipes, or says what that takes."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts import Artifact
from artifacts.commands import json_option, print_json
from artifacts.progress import duration
from artifacts.provenance import cores
from training.commands.artifacts import headline
from training.commands.options import profile_option
from training.commands.studies import train
from training.recipe import Profile, Recipe, load_recipe, load_recipes, load_recipes_of
from training.recipe_paths import Reference

if TYPE_CHECKING:
    from training.schedule.plan import Item
    from training.schedule.side_by_side import Outcome

MOST_JOBS = 8
"""Maximum number of recipes that train side by side on a GPU, if `--jobs` is not given."""
USABLE = 0.9
"""Fraction of the free memory of a GPU that they may take together."""


@click.command("all")
@click.argument("recipes", metavar="[RECIPE]...", nargs=-1)
@profile_option
@click.option("--plan", "only_plan", is_flag=True, help="Only say what would be trained.")
@click.option("--measure", is_flag=True, help="With --plan: time a short trial of unknown recipes.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Maximum number of recipes that train side by side; 1 on a CPU, and on a GPU as many as "
    "its memory holds, by default.",
)
@json_option
def all_command(
    recipes: tuple[str, ...],
    profile: Profile,
    only_plan: bool,
    measure: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Train every recipe whose artifact is out of date. A failure does not stop the others.

    RECIPE, a name or the path of a recipe file with all its variants, limits this to some recipes.
    """
    if (measure or as_json) and not only_plan:
        raise click.UsageError("--measure and --json go with --plan.")
    chosen = [each for name in recipes for each in _named(name, profile)]
    chosen = chosen or load_recipes(profile)
    import torch

    memory = None
    if torch.cuda.is_available():
        memory = round(USABLE * torch.cuda.mem_get_info()[0])
    jobs = jobs or (1 if memory is None else max(1, min(MOST_JOBS, cores() // 2)))
    if "WORLD_SIZE" in os.environ:
        jobs = 1  # the processes of `accelerate launch` train one recipe together
    if only_plan:
        _show(_plan(chosen, measure=measure), jobs, memory, as_json=as_json)
        return
    if jobs == 1:
        failed, _ = train(chosen)
        if failed:
            raise click.exceptions.Exit(1)
        return
    from training.schedule.side_by_side import train_side_by_side

    plan = _plan(chosen)
    outdated = [item for item in plan if not item.state.current]
    Console(stderr=True).print(_table(plan, jobs, memory))
    if not _tell(plan, train_side_by_side(outdated, jobs, memory)):
        raise click.exceptions.Exit(1)


def _named(name: str, profile: Profile) -> list[Recipe]:
    return load_recipes_of(name, profile) if Reference.parse(name) else [load_recipe(name, profile)]


def _plan(recipes: Sequence[Recipe], *, measure: bool = False) -> "list[Item]":
    from training.device import training_hardware
    from training.schedule.plan import make_plan

    plan = make_plan(recipes, training_hardware())
    if not measure:
        return plan
    from training.schedule.trial import epoch_seconds

    found = []
    for item in plan:
        timed = item
        if item.basis == "unknown" and not item.state.current:
            seconds = epoch_seconds(item.recipe)
            timed = replace(item, epoch_seconds=seconds, basis="trial" if seconds else "unknown")
        found.append(timed)
    return found


def _show(plan: "Sequence[Item]", jobs: int, memory: int | None, *, as_json: bool) -> None:
    from training.schedule.plan import groups

    starts = groups(plan, jobs, memory)
    if as_json:
        rows = [_row(item, _group(item, starts)) for item in plan]
        print_json({"jobs": jobs, "gpu_memory": memory, "recipes": rows})
        return
    console = Console(highlight=False)
    console.print(_table(plan, jobs, memory))
    known = [item.seconds for item in plan if item.seconds is not None]
    unknown = sum(item.seconds is None for item in plan)
    console.print(
        f"One after the other, the epochs of the recipes whose rate is known take about "
        f"{duration(sum(known))}; the rate of {unknown} is unknown. Exporting and measuring the "
        "models, and layers that are computed once, come on top."
    )


def _table(plan: "Sequence[Item]", jobs: int, memory: int | None) -> Table:
    from training.schedule.plan import groups

    starts = groups(plan, jobs, memory)
    table = Table(
        Column("recipe", no_wrap=True),
        Column("epochs", justify="right"),
        Column("pictures", justify="right"),
        Column("s/epoch", justify="right"),
        Column("by"),
        Column("total", justify="right"),
        *([] if memory is None else [Column("GPU memory", justify="right")]),
        Column("starts", justify="right"),
        Column("artifact", overflow="ellipsis", no_wrap=True),
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for item in plan:
        seconds, group = item.epoch_seconds, _group(item, starts)
        table.add_row(
            item.recipe.name,
            str(item.recipe.epochs),
            f"{item.contents.pictures:,}" if item.contents else "no data",
            _known(seconds, "{:.3g}".format),
            "" if seconds is None else item.basis,
            "" if item.state.current else _known(item.seconds, duration),
            *([] if memory is None else [_known(item.memory, lambda size: f"{size / 1e9:.1f} GB")]),
            "" if group is None else str(group),
            item.state.short,
        )
    return table


def _known(value: float | None, shown: Callable[[float], str]) -> str:
    return "unknown" if value is None else shown(value)


def _group(item: "Item", starts: "Sequence[Sequence[Item]]") -> int | None:
    """Return the number of the group, counted from 1, in which a recipe starts; None if in none."""
    return next((number for number, group in enumerate(starts, 1) if item in group), None)


def _row(item: "Item", group: int | None) -> dict[str, Any]:
    return {
        "name": item.recipe.name,
        "epochs": item.recipe.epochs,
        "pictures": item.contents.pictures if item.contents else None,
        "epoch_seconds": item.epoch_seconds,
        "basis": item.basis,
        "seconds": item.seconds,
        "gpu_memory": item.memory,
        "group": group,
        "after": list(item.after),
        "current": item.state.current,
        "reason": item.state.reason,
    }


def _tell(plan: "Sequence[Item]", outcomes: "dict[str, Outcome]") -> bool:
    """Print how each recipe ended; returns whether none failed."""
    table = Table(Column("recipe", no_wrap=True), "result", "measured", box=box.SIMPLE)
    good = True
    for item in plan:
        name, outcome = item.recipe.name, outcomes.get(item.recipe.name)
        if outcome is None or outcome.kind == "trained":
            manifest = Artifact.open(item.recipe.artifact_name).manifest
            table.add_row(
                name, item.state.reason if outcome is None else "trained", headline(manifest)
            )
            continue
        # a system of a study may diverge, which is a result
        expected = outcome.kind == "diverged" and item.recipe.study is not None
        good = good and expected
        colour = "yellow" if expected else "red"
        table.add_row(name, f"[{colour}]{outcome.kind}:[/{colour}] {outcome.reason}", "")
    Console().print(table)
    return good
