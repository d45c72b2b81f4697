"""Compares trainings of the same recipe with several seeds: what of a result is chance."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean

from artifacts import Artifact
from training.figures import curves
from training.history import read_history
from training.overrides import with_changes
from training.recipe import Recipe, load_recipe
from training.study import origin, origin_line, profile_changes

ERRORS = 3
"""Standard errors by which an accuracy must exceed chance for a network to have learned something:
by chance alone, that happens to about one epoch in 700."""


@dataclass(frozen=True)
class SeedRow:
    """One training of a system. Accuracies lie in 0..1."""

    system: str
    seed: int
    epochs: int
    validation: float
    """Accuracy on the validation pictures, measured through the served graph."""
    learned_in: int | None
    """First epoch, counted from 1, whose validation accuracy exceeds chance by `ERRORS` standard
    errors; None if none does."""
    samples: int
    """Number of validation pictures."""
    hardware: str


def with_seeds(recipes: Sequence[Recipe], count: int) -> dict[str, list[Recipe]]:
    """Return each recipe with `count` seeds, by its name.

    The seeds are those from 0 on. A recipe with its own seed is the recipe itself; others are named
    `NAME-seed-N`.
    """
    return {
        recipe.name: [
            recipe
            if seed == recipe.seed
            else with_changes(
                recipe.name, recipe.profile, [f"seed={seed}"], f"{recipe.name}-seed-{seed}"
            )
            for seed in range(count)
        ]
        for recipe in recipes
    }


def seed_rows(system: str, recipes: Sequence[Recipe]) -> list[SeedRow]:
    """Return a row for each artifact of a system's recipes, all of which exist."""
    return [_row(system, recipe, Artifact.open(recipe.artifact_name)) for recipe in recipes]


def first_above_chance(accuracies: Sequence[float], classes: int, samples: int) -> int | None:
    """Return the first epoch, counted from 1, whose accuracy exceeds chance by `ERRORS` errors.

    Args:
        accuracies: Accuracy (0..1) after each epoch.
        classes: Number of classes, which are about equally frequent.
        samples: Number of pictures that it was measured on.
    """
    chance = 1 / classes
    bound = chance + ERRORS * (chance * (1 - chance) / samples) ** 0.5
    return next((epoch for epoch, value in enumerate(accuracies, 1) if value > bound), None)


def write_seeds(
    study: str, groups: dict[str, list[Recipe]], about: Sequence[str], folder: Path
) -> None:
    """Write seeds.md, seeds.csv and seeds.png, a figure of all curves.

    Args:
        study: Name of the study.
        groups: The recipes of each system, whose artifacts exist.
        about: Notes above the table, a line each, of which the first is the command.
        folder: Folder of the files, which is made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    every = [recipe for group in groups.values() for recipe in group]
    rows = {system: seed_rows(system, group) for system, group in groups.items()}
    notes = [about[0], *origin(every), *about[1:]]
    (folder / "seeds.md").write_text(_markdown(study, groups, rows, notes), encoding="utf-8")
    (folder / "seeds.csv").write_text(_csv(rows), encoding="utf-8")
    artifacts = [Artifact.open(recipe.artifact_name) for recipe in every]
    (folder / "seeds.png").write_bytes(curves(study, artifacts, origin_line(notes)))


def _row(system: str, recipe: Recipe, artifact: Artifact) -> SeedRow:
    manifest = artifact.manifest
    found = next(m for m in manifest.metrics if (m.name, m.split) == ("accuracy", "validation"))
    accuracies = [float(row["validation_accuracy"]) for row in read_history(artifact)]
    return SeedRow(
        system=system,
        seed=recipe.seed,
        epochs=len(accuracies),
        validation=found.value,
        learned_in=first_above_chance(accuracies, len(manifest.classes), found.samples),
        samples=found.samples,
        hardware=manifest.run.hardware if manifest.run else "",
    )


def _markdown(
    study: str,
    groups: dict[str, list[Recipe]],
    rows: dict[str, list[SeedRow]],
    about: Sequence[str],
) -> str:
    lines = [
        f"# Study {study}: several seeds",
        "",
        *(f"- {line}" for line in about),
        f"- Learned: the validation accuracy exceeds chance by {ERRORS} standard errors in an "
        "epoch, of which the first is given.",
        "",
        "| system | seeds | epochs | validation: mean | lowest | highest | learned | in epoch "
        "| reported | remark |",
        "|---" * 10 + "|",
    ]
    for system, trained in rows.items():
        recipe = load_recipe(system, groups[system][0].profile)
        values = [row.validation for row in trained]
        first = [row.learned_in for row in trained if row.learned_in is not None]
        reported = recipe.reported.get("accuracy/validation")
        runs = [Artifact.open(each.artifact_name).manifest.run for each in groups[system]]
        found = {profile_changes(recipe, run) for run in runs}
        changes = " or ".join(each or "nothing" for each in sorted(found)) if any(found) else ""
        cells = [
            system,
            ", ".join(str(row.seed) for row in trained),
            _span([row.epochs for row in trained]),
            *(f"{value:.4f}" for value in (mean(values), min(values), max(values))),
            f"{len(first)} of {len(trained)}",
            _span(first),
            "" if reported is None else f"{reported:.4f}",
            "; ".join(filter(None, [changes, recipe.remark])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _span(numbers: Sequence[int]) -> str:
    """Return the lowest and the highest number, or the one that all are; empty without any."""
    return " to ".join(map(str, sorted({min(numbers), max(numbers)}))) if numbers else ""


def _csv(rows: dict[str, list[SeedRow]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(SeedRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for group in rows.values() for row in group)
    return text.getvalue()
