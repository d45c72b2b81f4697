"""Compares the systems of a study: the reported figure, the rebuilt one, and the difference."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from artifacts import Artifact, Manifest
from artifacts.manifest import RunRecord
from training.history import DivergedError, read_history
from training.recipe import Profile, Recipe, RecipeError, load_recipe, load_recipes


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system of a study. Accuracies lie in 0..1; None if not reported or not measured."""

    system: str
    parameters: int
    trainable: int | None = None
    epochs: int
    seconds_per_epoch: float | None = None
    train: float | None = None
    validation: float | None = None
    test: float | None = None
    reported_on: str
    """Split that is compared: the one of which a figure was reported, test if possible. A system
    without a reported figure is compared on the split of the others of its study."""
    reported: float | None = None
    difference: float | None = None
    """Rebuilt minus reported accuracy on that split."""
    paper: float | None = None
    """Validation accuracy reported by the paper that the study follows."""
    overfit_epoch: int | None = None
    """First epoch, counted from 1, in which the validation loss rises; None if it never does."""
    remark: str = ""
    """The recipe's remark, after a note if training diverged."""
    profile: str = ""
    changes: str = ""
    """Settings that the profile changes; see `profile_changes`."""
    samples: int | None = None
    """Number of pictures of the split that is compared."""
    seed: int | None = None
    hardware: str = ""

    @property
    def rebuilt(self) -> float | None:
        """Rebuilt accuracy on the split `reported_on`."""
        return self.test if self.reported_on == "test" else self.validation


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


def origin(recipes: Sequence[Recipe], kept: Sequence[Row] = ()) -> list[str]:
    """Describe how systems were trained and measured, as lines of text.

    Args:
        recipes: Systems that have an artifact.
        kept: Rows of others, whose artifacts were elsewhere.
    """
    manifests = [Artifact.open(recipe.artifact_name).manifest for recipe in recipes]
    samples = {
        f"{metric.samples:,} {metric.split}"
        for manifest in manifests
        for metric in manifest.metrics
        if metric.name in ("accuracy", "found") and metric.size is None
    }
    runs = [manifest.run for manifest in manifests if manifest.run]
    seeds = {run.seed for run in runs} | {row.seed for row in kept if row.seed is not None}
    machines = {run.hardware for run in runs} | {row.hardware for row in kept if row.hardware}
    datasets = sorted({m.dataset.name for m in manifests if m.dataset})
    return [
        f"Pictures: {', '.join(sorted(samples))}; {', '.join(datasets)}. All figures are measured "
        "through the served graphs.",
        f"Seed: {', '.join(map(str, sorted(seeds)))}.",
        *(f"Trained on: {hardware}." for hardware in sorted(machines)),
        "Seconds per epoch are wall time and depend on what else the machine was doing.",
    ]


def origin_line(about: Sequence[str]) -> str:
    """Return what is written below the figures of a study: its command, pictures and seed.

    Args:
        about: the command, followed by the lines of `origin`.
    """
    return " ".join(about[:3]).replace("`", "")


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
        epochs=error.epoch,
        reported_on=split,
        reported=reported,
        paper=recipe.reported.get("paper/validation"),
        remark="; ".join(filter(None, [f"diverged in epoch {error.epoch}", recipe.remark])),
        profile=recipe.profile,
        changes=profile_changes(recipe),
        seed=recipe.seed,
    )


def _reported(recipe: Recipe) -> tuple[str, float | None]:
    """Return the split that is compared, and its reported accuracy; see `Row.reported_on`."""
    split = _reported_split(recipe)
    if split is None and recipe.study:
        splits = map(_reported_split, study_recipes(recipe.study, recipe.profile))
        split = next(filter(None, splits), None)
    split = split or "test"
    return split, recipe.reported.get(f"accuracy/{split}")


def _reported_split(recipe: Recipe) -> str | None:
    splits = (split for split in ("test", "validation") if f"accuracy/{split}" in recipe.reported)
    return next(splits, None)


def _seconds_per_epoch(manifest: Manifest) -> float | None:
    run = manifest.run
    return round(run.seconds / run.epochs, 2) if run and run.epochs else None
