"""Compares the systems of a study: the reported figure, the rebuilt one, and the difference."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from artifacts import Artifact, Manifest
from artifacts.figure_style import SOFT, add_legend, bar_style, line_style
from artifacts.manifest import RunRecord
from training.history import DivergedError, read_history
from training.plots import new_figure, png
from training.recipe import Profile, Recipe, RecipeError, load_recipe, load_recipes


@dataclass(frozen=True)
class Row:
    """One system of a study. Accuracies lie in 0..1; None if not reported or not measured."""

    system: str
    parameters: int
    trainable: int | None
    epochs: int
    seconds_per_epoch: float | None
    train: float | None
    validation: float | None
    test: float | None
    reported_on: str
    """Split of the reported figure that is compared: test if reported, else validation; test if
    nothing was reported."""
    reported: float | None
    difference: float | None
    """Rebuilt minus reported accuracy on that split."""
    paper: float | None
    """Validation accuracy reported by the paper that the study follows."""
    overfit_epoch: int | None
    """First epoch, counted from 1, in which the validation loss rises; None if it never does."""
    remark: str
    """The recipe's remark, after a note if training diverged."""
    profile: str = ""
    changes: str = ""
    """Settings that the profile changes; see `profile_changes`."""
    samples: int | None = None
    """Number of pictures of the split that is compared."""
    seed: int | None = None
    hardware: str = ""


def study_recipes(study: str, profile: Profile) -> list[Recipe]:
    """Return all recipes of a study.

    Raises:
        RecipeError: No recipe belongs to the study.
    """
    recipes = load_recipes(profile)
    found = [recipe for recipe in recipes if recipe.study == study]
    if not found:
        known = sorted({recipe.study for recipe in recipes if recipe.study})
        raise RecipeError(f"no study called {study!r}; choose one of: {', '.join(known)}.")
    # a recipe outside of the study's file, such as cifar10-gap, comes last
    return sorted(found, key=lambda recipe: not recipe.name.startswith(f"{study}-"))


def compare(
    recipes: Sequence[Recipe], diverged: Mapping[str, DivergedError] | None = None
) -> list[Row]:
    """Return a row for each system, from its artifact or from the error if training diverged.

    Args:
        recipes: The systems, in the order of the table.
        diverged: Errors of diverged systems by name of the recipe. All others need an artifact.
    """
    errors = diverged or {}
    return [
        _diverged_row(recipe, errors[recipe.name])
        if recipe.name in errors
        else _row(recipe, Artifact.open(recipe.artifact_name))
        for recipe in recipes
    ]


def origin(recipes: Sequence[Recipe]) -> list[str]:
    """Describe how the artifacts of these systems were trained and measured, as lines of text."""
    manifests = [Artifact.open(recipe.artifact_name).manifest for recipe in recipes]
    samples = {
        f"{metric.samples:,} {metric.split}"
        for manifest in manifests
        for metric in manifest.metrics
        if metric.name in ("accuracy", "found") and metric.size is None
    }
    runs = [manifest.run for manifest in manifests if manifest.run]
    datasets = sorted({m.dataset.name for m in manifests if m.dataset})
    return [
        f"Pictures: {', '.join(sorted(samples))}; {', '.join(datasets)}. All figures are measured "
        "through the served graphs.",
        f"Seed: {', '.join(sorted({str(run.seed) for run in runs}))}.",
        *(f"Trained on: {hardware}." for hardware in sorted({run.hardware for run in runs})),
        "Seconds per epoch are wall time and depend on what else the machine was doing.",
    ]


def origin_line(about: Sequence[str]) -> str:
    """Return what is written below the figures of a study: its command, pictures and seed.

    Args:
        about: the command, followed by the lines of `origin`.
    """
    return " ".join(about[:3]).replace("`", "")


def write_comparison(
    rows: Sequence[Row], title: str, about: Sequence[str], folder: Path
) -> list[Path]:
    """Write comparison.md, .csv and .png.

    Args:
        rows: The systems.
        title: Heading of the page and of the plot.
        about: Notes above the table, a line each.
        folder: Folder of the files.

    Returns:
        The paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "comparison.md": markdown(rows, title, about).encode(),
        "comparison.csv": _csv(rows).encode(),
        "comparison.png": _plot(rows, title, origin_line(about)),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in content]


def markdown(rows: Sequence[Row], title: str, about: Sequence[str] = ()) -> str:
    """Return the comparison as a Markdown table, with the lines of `about` above it."""
    lines = [
        f"# {title}",
        "",
        *(f"- {line}" for line in about),
        "",
        "| system | weights | trained | epochs | s/epoch | train | validation | test | reported "
        "| difference | paper | over-fits from epoch | remark |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        reported = "" if row.reported is None else f"{row.reported:.4f} ({row.reported_on})"
        difference = "" if row.difference is None else f"{row.difference:+.4f}"
        cells = [
            row.system,
            f"{row.parameters:,}",
            "" if row.trainable is None else f"{row.trainable:,}",
            str(row.epochs),
            "" if row.seconds_per_epoch is None else f"{row.seconds_per_epoch:.1f}",
            *("" if x is None else f"{x:.4f}" for x in (row.train, row.validation, row.test)),
            reported,
            difference,
            "" if row.paper is None else f"{row.paper:.4f}",
            str(row.overfit_epoch or ""),
            "; ".join(filter(None, [row.changes, row.remark])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def first_rise(losses: Sequence[float]) -> int | None:
    """Return the first epoch, counted from 1, whose loss is above that of the epoch before."""
    for epoch in range(1, len(losses)):
        if losses[epoch] > losses[epoch - 1]:
            return epoch + 1
    return None


def _row(recipe: Recipe, artifact: Artifact) -> Row:
    manifest = artifact.manifest
    split, reported = _reported(recipe)
    ours = manifest.metric("accuracy", split)
    difference = None if reported is None or ours is None else round(ours - reported, 4)
    losses = [float(row["validation_loss"]) for row in read_history(artifact)]
    return Row(
        system=manifest.name,
        parameters=manifest.parameters.total if manifest.parameters else 0,
        trainable=manifest.parameters.trainable if manifest.parameters else None,
        epochs=manifest.run.epochs if manifest.run else 0,
        seconds_per_epoch=_seconds_per_epoch(manifest),
        train=manifest.metric("accuracy", "train"),
        validation=manifest.metric("accuracy", "validation"),
        test=manifest.metric("accuracy", "test"),
        reported_on=split,
        reported=reported,
        difference=difference,
        paper=recipe.reported.get("paper/validation"),
        overfit_epoch=first_rise(losses),
        remark=recipe.remark,
        profile=recipe.profile,
        changes=profile_changes(recipe, manifest.run),
        samples=next((m.samples for m in manifest.metrics if m.split == split), None),
        seed=manifest.run.seed if manifest.run else None,
        hardware=manifest.run.hardware if manifest.run else "",
    )


def profile_changes(recipe: Recipe, run: RunRecord | None = None) -> str:
    """List the settings that a profile changes, such as "epochs 6 instead of 300; ...".

    Args:
        recipe: The recipe with its profile.
        run: How it was trained, of which the precision is listed in place of the recipe's.
    """
    here, full = asdict(recipe), asdict(load_recipe(recipe.name))
    if run:
        here["precision"] = run.precision
    changes = []
    for key in here.keys() - {"profile", "search"}:
        now, was = here[key], full[key]
        parts = [(key, now, was)]
        if isinstance(now, dict):
            parts = [(f"{key}.{k}", now.get(k), was.get(k)) for k in sorted({**now, **was})]
        changes += [f"{name} {a} instead of {b}" for name, a, b in parts if a != b]
    return "; ".join(sorted(changes))


def _diverged_row(recipe: Recipe, error: DivergedError) -> Row:
    split, reported = _reported(recipe)
    return Row(
        system=recipe.artifact_name,
        parameters=error.parameters,
        trainable=None,
        epochs=error.epoch,
        seconds_per_epoch=None,
        train=None,
        validation=None,
        test=None,
        reported_on=split,
        reported=reported,
        difference=None,
        paper=recipe.reported.get("paper/validation"),
        overfit_epoch=None,
        remark="; ".join(filter(None, [f"diverged in epoch {error.epoch}", recipe.remark])),
        profile=recipe.profile,
        changes=profile_changes(recipe),
        seed=recipe.seed,
    )


def _reported(recipe: Recipe) -> tuple[str, float | None]:
    """Return the split of the reported accuracy, test if possible, and the figure."""
    for split in ("test", "validation"):
        if f"accuracy/{split}" in recipe.reported:
            return split, recipe.reported[f"accuracy/{split}"]
    return "test", None


def _seconds_per_epoch(manifest: Manifest) -> float | None:
    run = manifest.run
    return round(run.seconds / run.epochs, 2) if run and run.epochs else None


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _plot(rows: Sequence[Row], title: str, line: str) -> bytes:
    """Plot rebuilt accuracies as bars and reported ones as dots, on the split that was reported."""
    figure = new_figure(title, line, width=9, height=1.6 + 0.36 * len(rows))
    axes = figure.subplots()
    positions = range(len(rows))
    ours = [row.test if row.reported_on == "test" else row.validation for row in rows]
    there = [(place, value) for place, value in enumerate(ours) if value is not None]
    axes.barh([p for p, _ in there], [v for _, v in there], label="rebuilt", **bar_style(0))
    for place in (place for place, value in enumerate(ours) if value is None):
        axes.text(0.01, place, "not measured", va="center", color=SOFT, style="italic")
    reported = [
        (position, row.reported) for position, row in enumerate(rows) if row.reported is not None
    ]
    if reported:
        axes.plot(
            [v for _, v in reported],
            [p for p, _ in reported],
            label="reported",
            **line_style(1) | {"linestyle": "", "markersize": 8},
        )
    axes.set_yticks(positions, [row.system for row in rows])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), ylabel="system")
    axes.set_xlabel("accuracy (0 to 1; on the split in the column reported_on of comparison.csv)")
    add_legend(figure, axes)
    return png(figure)
