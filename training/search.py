"""Random search over the settings listed in a recipe; trials are stored in a database.

An interrupted search continues where it stopped, and machines that share the database share the
search. Trials are ranked by validation error (for embeddings the equal error rate) rather than by
the loss, because losses with different margins cannot be compared.
"""

import csv
import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from artifacts import VitrineError
from artifacts.figure_style import COLOURS
from training.data import load_splits
from training.history import DivergedError
from training.loop import fit
from training.multi_label import check_labels
from training.plots import new_figure, png
from training.recipe import Profile, Recipe, RecipeError, load_recipe
from training.run import initial_network, make_accelerator
from training.run_state import RUNS

HEARTBEAT = 30
"""Seconds between heartbeats of a trial, which counts as dead when three in a row are missing."""


@dataclass(frozen=True)
class TrialResult:
    """One finished trial."""

    number: int
    settings: dict[str, float]
    """Values drawn, by dotted name."""
    train_loss: float
    validation_loss: float
    """Loss of the last epoch; only trials with the same margin can be compared by it."""
    error: float
    """1 - validation accuracy of the last epoch; for embeddings this is the equal error rate."""
    seconds: float


def search(
    name: str, profile: Profile, trials: int, storage: str | None = None
) -> list[TrialResult]:
    """Run trials until a number of them have finished, including those of earlier calls.

    Args:
        name: Name of a recipe with a `search`.
        profile: Profile of the recipe.
        trials: Total number of finished trials to reach.
        storage: URL of the database; an SQLite file under `runs/search` by default.

    Returns:
        All finished trials, the best one first.

    Raises:
        RecipeError: The recipe lists no settings to search.
        VitrineError: The database cannot be opened, or every trial diverged.
    """
    recipe = load_recipe(name, profile)
    if not recipe.search:
        raise RecipeError(f"{name} lists no settings under `search`; add them to its file.")
    folder = RUNS / "search" / recipe.artifact_name
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open(recipe, storage or f"sqlite:///{folder.resolve()}/trials.sqlite3")

    def stop_when_done(study: optuna.Study, _: FrozenTrial) -> None:
        if len(_finished(study)) >= trials:
            study.stop()

    if len(_finished(study)) < trials:
        study.optimize(
            lambda trial: _trial(trial, recipe, folder),
            callbacks=[stop_when_done],
            catch=(DivergedError,),
            n_trials=2 * trials,  # diverged trials do not count, but their number is limited
        )
    results = sorted(map(_trial_result, _finished(study)), key=lambda each: each.error)
    if not results:
        raise VitrineError(
            f"{name}: every trial diverged; add smaller values of optimizer.lr to its `search`."
        )
    return results


def table(results: Sequence[TrialResult]) -> bytes:
    """Return a CSV file with a row per trial, in the order given."""
    text = io.StringIO()
    settings = list(results[0].settings)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", *settings, "train_loss", "validation_loss", "validation_error", "seconds"]
    )
    for row in results:
        losses = (f"{value:.6f}" for value in (row.train_loss, row.validation_loss, row.error))
        writer.writerow([row.number, *row.settings.values(), *losses, f"{row.seconds:.1f}"])
    return text.getvalue().encode()


def plot(results: Sequence[TrialResult], title: str, origin: str) -> bytes:
    """Plot the error over the values of each setting, a point per trial; returns a PNG."""
    settings = list(results[0].settings)
    heading = f"{title}: {len(results)} trials; a line is their median"
    figure = new_figure(heading, origin, width=max(5.0, 2.6 * len(settings)), height=3.4)
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, setting in zip(panels, settings, strict=True):
        values = sorted({row.settings[setting] for row in results})
        for place, value in enumerate(values):
            errors = [row.error for row in results if row.settings[setting] == value]
            axes.plot([place] * len(errors), errors, "o", color=COLOURS[0], alpha=0.6)
            middle = sorted(errors)[len(errors) // 2]
            axes.plot([place - 0.25, place + 0.25], [middle] * 2, color=COLOURS[1])
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set(xlabel=setting, xlim=(-0.6, len(values) - 0.4))
        axes.grid(axis="y")
    panels[0].set_ylabel("validation error (0 to 1)")
    return png(figure)


def _open(recipe: Recipe, url: str) -> optuna.Study:
    """Open or create the search in a database; its name identifies the recipe and its `search`."""
    try:
        with warnings.catch_warnings():
            # Optuna warns that heartbeats are experimental; constraints.txt pins its version
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = optuna.storages.RDBStorage(
                url,
                heartbeat_interval=HEARTBEAT,
                grace_period=3 * HEARTBEAT,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
        drawn = hashlib.sha256(json.dumps(recipe.search, sort_keys=True).encode()).hexdigest()
        name = f"{recipe.artifact_name}-{recipe.hash[:12]}-{drawn[:12]}"
        study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    except (SQLAlchemyError, ImportError, OptunaError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise VitrineError(
            f"{url}: the database of trials cannot be opened ({reason}); give a URL such as "
            "sqlite:///trials.sqlite3."
        ) from None
    # with the same seed, a continued search would draw its first trials again
    study.sampler = optuna.samplers.RandomSampler(recipe.seed + len(study.trials))
    return study


def _trial(trial: Trial, recipe: Recipe, folder: Path) -> float:
    """Train with drawn settings; returns the error to minimise."""
    drawn = {key: trial.suggest_categorical(key, values) for key, values in recipe.search.items()}
    changed = load_recipe(recipe.name, recipe.profile, changes=drawn)
    accelerator = make_accelerator(changed)
    splits = load_splits(changed.data, changed.seed)
    check_labels(splits.source, changed)
    place = folder / f"trial-{trial.number}"
    place.mkdir(exist_ok=True)
    network = initial_network(changed, splits)
    try:
        _, history = fit(network, splits, changed, place, accelerator)
    finally:
        shutil.rmtree(place)
    last = history[-1]
    trial.set_user_attr("train_loss", last.train_loss)
    trial.set_user_attr("validation_loss", last.validation_loss)
    return 1 - last.validation_accuracy


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _trial_result(trial: FrozenTrial) -> TrialResult:
    attributes: dict[str, Any] = trial.user_attrs
    return TrialResult(
        number=trial.number,
        settings=dict(trial.params),
        train_loss=attributes["train_loss"],
        validation_loss=attributes["validation_loss"],
        error=float(trial.value or 0.0),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
    )
