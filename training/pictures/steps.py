"""The steps of `vitrine train PICTURES`: inspect, divide, train, measure and tell."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import click
import torch
from rich.console import Console

from artifacts import DataError, artifact_names
from artifacts.progress import Progress
from training.data import Splits, load_splits, load_test
from training.device import used_precision
from training.finished import Finished, Kept, saying_how_to_publish
from training.networks import build
from training.pictures.candidates import PARTS, Task, candidate, required_size
from training.pictures.collection import read_collection
from training.pictures.command import TABLE_FILE, Options
from training.pictures.division import SPLITS, Division, divide, write_table
from training.pictures.head import Features
from training.pictures.inspection import Inspection, inspect
from training.pictures.measures import Share, accuracy, balanced_accuracy, mean_average_precision
from training.pictures.outcome import collect, curl
from training.pictures.page import PAGE_FILE, interval, write_page
from training.pictures.plan import Clock, Figures, Plan, choose_size, default_budget, load_plan
from training.pictures.selection import Selection
from training.publish import publish
from training.run_state import FINISHED
from training.settings import Network, Size

REPORT = "report"
"""Name of the folder of the page."""
console = Console(stderr=True, highlight=False)


def run(options: Options, kept: Kept | None = None) -> None:
    """Read, inspect and divide the pictures, and train on them.

    Args:
        options: The options of the command.
        kept: A finished run with these options, which is published instead of training.

    Raises:
        PublishError: It is trained, and something after that failed; see `training.finished`.
        DataError: The pictures changed since `kept` was trained.
    """
    collection = read_collection(options.pictures)
    if kept is None:
        _check_weights(options)
    inspection = inspect(collection)
    console.print(inspection.table())
    division = divide(inspection, options.seed)
    for sentence in (*inspection.warnings(), *division.warnings):
        _say(sentence)
    plan = load_plan(options.folder, _key(options, division))
    if kept is not None and plan.chosen is None:
        raise DataError(
            f"{options.pictures} changed since {options.name} was trained; restore it, or train "
            f"again: {options.command}"
        )
    write_table(division, options.folder / TABLE_FILE)
    train, validation, test = (sum(division.counts(split).values()) for split in SPLITS)
    _say(
        f"{len(division.classes)} classes; {train:,} pictures to train, {validation:,} to validate "
        f"and {test:,} to test. {options.folder / TABLE_FILE} lists them."
    )
    if plan.tested is not None and options.name in artifact_names():
        _say("This model is trained already; another --budget or --seed trains it anew.")
    else:
        _train(options, inspection, division, plan, kept)
    (options.folder / FINISHED).unlink(missing_ok=True)  # the artifact replaces it
    _tell(options, plan, multi_label=collection.multi_label)


def publish_kept(kept: Kept) -> None:
    """Publish a finished run of `vitrine train PICTURES`; see `run`."""
    assert kept.own is not None  # noqa: S101 - such a run has saved its options
    options = kept.own["options"]
    run(Options(**{**options, "pictures": Path(options["pictures"])}), kept)


def _check_weights(options: Options) -> None:
    """Check that the network's weights are at hand, and download them if need be.

    Raises:
        WeightsError: They are missing, damaged or those of another network.
    """
    settings = {"model": options.model, "weights": options.weights, "train": "head"}
    build(Network("backbone", settings), 2).initialise(torch.zeros(0))


def _train(
    options: Options,
    inspection: Inspection,
    division: Division,
    plan: Plan,
    kept: Kept | None,
) -> None:
    """Train the candidates, unless that is done; write the best one's artifact and page."""
    budget = options.budget or default_budget(len(inspection.pictures))
    clock = Clock(plan, budget)
    _say(f"The budget is {budget:.0f} s.")
    if plan.size is None:
        sizes = [(p.width, p.height) for p in inspection.pictures]
        plan.size = required_size(options.model) or choose_size(sizes, options.side)
        _say(f"Pictures are resized to {plan.size[1]}x{plan.size[0]} px, as in serving.")
    clock.save(options.folder)
    multi_label = inspection.collection.multi_label
    task = _task(options, plan.size, division, multi_label=multi_label)
    recipe = candidate(task, "head", 1)
    splits = load_splits(recipe.data, recipe.seed)
    test = load_test(recipe.data.name, splits.classes)
    if kept is None:
        finished, features = _select(options, task, splits, plan, clock, len(test))
    else:
        finished, features = kept.restore(splits), Features(**(kept.own or {})["features"])
    with saying_how_to_publish(options.name):
        with Progress(options.name, console=console) as progress:
            artifact = publish(finished, splits, progress)
        clock.save(options.folder)
        if clock.left < 0:
            _say(f"This took {plan.spent:.0f} s, longer than the budget of {budget:.0f} s.")
        every = (*inspection.warnings(), *division.warnings, *plan.reasons)
        results = collect(artifact, inspection, every, splits, test, features, plan)
        write_page(options.folder / REPORT, results)
        right = accuracy(results, results.test)
        mean = mean_average_precision if multi_label else balanced_accuracy
        balanced = mean(results, results.test)
        picture = str(results.test.paths[0].absolute())
        plan.tested = Figures(right.count, right.total, balanced.value, picture)
        clock.save(options.folder)
    for part in PARTS:
        shutil.rmtree(options.folder / part, ignore_errors=True)  # the artifact replaces them


def _select(
    options: Options, task: Task, splits: Splits, plan: Plan, clock: Clock, tested: int
) -> tuple[Finished, Features]:
    """Train the candidates and keep the best one, until its artifact is written."""
    (options.folder / FINISHED).unlink(missing_ok=True)  # it may be of other options
    trained = Selection(task, splits, plan, clock, options.folder, tested, _say).run()
    precision = used_precision(trained.recipe.precision)
    finished = Finished(trained.recipe, trained.network, trained.history, precision)
    own = {"options": {**vars(options), "pictures": str(options.pictures)}}
    finished.save(options.folder, splits, {**own, "features": vars(trained.features)})
    return finished, trained.features


def _tell(options: Options, plan: Plan, *, multi_label: bool) -> None:
    """Print what was measured, and how to ask the model."""
    tested = plan.tested
    assert tested is not None  # noqa: S101 - it is measured before
    share = Share(tested.right, tested.total)
    click.echo(
        ("All labels right" if multi_label else "Accuracy")
        + f" on the {tested.total:,} test pictures: {share.value:.1%} "
        f"(95 % interval {interval(share.interval)}); "
        + ("mean average precision" if multi_label else "balanced accuracy")
        + f" {tested.balanced:.1%}."
    )
    click.echo(f"Page: {options.folder / REPORT / PAGE_FILE}")
    click.echo("Serve it with `vitrine serve`, and ask it:")
    click.echo(curl(options.name, Path(tested.picture)))


def _task(options: Options, size: Size, division: Division, *, multi_label: bool) -> Task:
    return Task(
        name=options.name,
        title=f"{len(division.classes)} classes of {options.pictures.name or 'pictures'}",
        data=options.data,
        model=options.model,
        weights=options.weights,
        size=size,
        flip=False,
        pictures=sum(division.counts("train").values()),
        seed=options.seed,
        route=options.route,
        command=options.command,
        multi_label=multi_label,
    )


def _key(options: Options, division: Division) -> str:
    """Return a sha256 of the pictures, their labels and splits, and of the options."""
    content = [[p.sha256, p.labels, p.split] for p in division.pictures]
    settings = {k: str(v) for k, v in asdict(options).items() if k not in ("pictures", "route")}
    return hashlib.sha256(json.dumps([content, settings]).encode()).hexdigest()


def _say(sentence: str) -> None:
    console.print(sentence, markup=False, soft_wrap=True)
