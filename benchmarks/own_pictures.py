"""Compares `vitrine train PICTURES` with fine-tuning written by hand, given the same time.

Five data sets are made of the real data: makers of cars, twenty models of cars, objects, digits and
people. For each set and seed, the command trains a model in a process of its own, and then the
same network is fine-tuned in the time that the process took, on the training and validation
pictures of the same division. Both are tested on the same test pictures.

Each measurement is written to the CSV file at once, and measurements that it holds already are
not repeated, so that an interrupted run continues. Run `python -m benchmarks.own_pictures` with
nothing else on the machine; `--sets digits --seeds 0 --budget 60s` tries it out.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean

import click
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torchmetrics.functional.classification import multiclass_calibration_error

from artifacts import Artifact, Runtime, probabilities
from artifacts.calibration import BINS
from artifacts.datasets import ImageSet, load
from artifacts.provenance import hardware
from benchmarks.fine_tune import fine_tune
from benchmarks.picture_sets import SETS, make_set
from training.evaluate import run_logits

ROOT = Path(__file__).parents[1]
MODEL = "tf_efficientnet_lite0"
SIDES = ("vitrine", "by hand")


@dataclass(frozen=True)
class Row:
    """One measurement, a row of the CSV file."""

    set: str
    seed: int
    side: str
    budget: str
    model: str
    train: int
    """Number of pictures to train and validate."""
    test: int
    chosen: str
    """What was trained besides the head; all by hand."""
    seconds: float
    """Wall time, for Vitrine that of the whole process."""
    accuracy: float
    """On the test pictures, 0..1."""
    ece: float
    """Expected calibration error on the test pictures, with 15 bins."""


@click.command()
@click.option("--sets", default=",".join(SETS), show_default=True, help="Names, with commas.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Numbers, with commas.")
@click.option("--budget", default="3m", show_default=True, help="Of the command.")
@click.option("--model", default=MODEL, show_default=True)
@click.option("--rate", default=1e-3, show_default=True, help="Peak learning rate, by hand.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/own_pictures"),
    show_default=True,
    help="Folder of the pictures, models and results.csv.",
)
def main(sets: str, seeds: str, budget: str, model: str, rate: float, work: Path) -> None:
    """Measure both sides on every set and seed, and print a table."""
    file = work.resolve() / "results.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = _read(file)
    chosen = [name.strip() for name in sets.split(",")]
    numbers = [int(text) for text in seeds.split(",")]
    for seed in numbers:
        for name in chosen:
            pictures = make_set(name, file.parent / f"{name.replace(' ', '-')}-{seed}", seed)
            ours = _find(rows, name, seed, "vitrine", budget, model)
            if ours is None:
                ours = _vitrine(name, pictures, seed, budget, model, file.parent)
                rows.append(ours)
                _append(file, ours)
            if _find(rows, name, seed, "by hand", budget, model) is None:
                theirs = _by_hand(ours, pictures, rate, file.parent)
                rows.append(theirs)
                _append(file, theirs)
    wanted = [r for r in rows if (r.budget, r.model) == (budget, model) and r.seed in numbers]
    Console().print(_table([row for row in wanted if row.set in chosen]))
    print(hardware())


def _vitrine(name: str, pictures: Path, seed: int, budget: str, model: str, work: Path) -> Row:
    """Run the command as a process and measure its artifact."""
    artifact = f"{pictures.name}-{budget}"
    command = [sys.executable, "-m", "training.pictures.command", str(pictures)]
    command += ["--name", artifact, "--budget", budget, "--seed", str(seed), "--model", model]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(work / "models"),
    }
    shutil.rmtree(work / "runs" / artifact, ignore_errors=True)  # what was interrupted is untimed
    began = time.monotonic()
    subprocess.run(command, cwd=work, env=environment, check=True)  # noqa: S603
    seconds = time.monotonic() - began
    run = work / "runs" / artifact
    trained = json.loads((run / "plan.json").read_text(encoding="utf-8"))["chosen"]
    train, test = _splits(artifact, work)
    opened = Artifact.open(artifact, work / "models")
    logits = run_logits(Runtime.open(opened), test.images)
    found = probabilities(logits, opened.manifest.temperature)
    return _row(name, seed, "vitrine", budget, model, train, test, trained, seconds, found)


def _by_hand(ours: Row, pictures: Path, rate: float, work: Path) -> Row:
    """Fine-tune the same network for the time that our side took."""
    train, test = _splits(f"{pictures.name}-{ours.budget}", work)
    began = time.monotonic()
    found = fine_tune(ours.model, train, test, rate, ours.seconds, ours.seed)
    seconds = time.monotonic() - began
    return _row(
        ours.set, ours.seed, "by hand", ours.budget, ours.model, train, test, "all", seconds, found
    )


def _splits(artifact: str, work: Path) -> tuple[ImageSet, ImageSet]:
    """Return the training (with validation) and the test pictures of a run's division."""
    name = f"table/{work / 'runs' / artifact / 'pictures.csv'}"
    return load(name, "train"), load(name, "test")


def _row(
    name: str,
    seed: int,
    side: str,
    budget: str,
    model: str,
    train: ImageSet,
    test: ImageSet,
    chosen: str,
    seconds: float,
    found: npt.NDArray[np.float64],
) -> Row:
    truth = torch.from_numpy(test.labels)
    scores = torch.from_numpy(found)
    ece = multiclass_calibration_error(scores, truth, num_classes=len(test.classes), n_bins=BINS)
    right = float((scores.argmax(1) == truth).double().mean())
    return Row(
        name, seed, side, budget, model, len(train), len(test), chosen,
        round(seconds, 1), round(right, 4), round(float(ece), 4),
    )  # fmt: skip


def _find(rows: list[Row], name: str, seed: int, side: str, budget: str, model: str) -> Row | None:
    wanted = (name, seed, side, budget, model)
    return next((r for r in rows if (r.set, r.seed, r.side, r.budget, r.model) == wanted), None)


def _read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    kinds = {f.name: f.type for f in fields(Row)}
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            Row(**{name: kinds[name](text) for name, text in row.items()})  # type: ignore[operator]
            for row in csv.DictReader(lines)
        ]


def _append(file: Path, row: Row) -> None:
    new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, [f.name for f in fields(Row)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def _table(rows: list[Row]) -> Table:
    """Return the means over the seeds of each set, and the ratio of the calibration errors."""
    table = Table("set", "side", "seeds", "pictures", "chosen", "seconds", "accuracy", "ECE")
    for name in dict.fromkeys(row.set for row in rows):
        for side in SIDES:
            own = [row for row in rows if (row.set, row.side) == (name, side)]
            if not own:
                continue
            table.add_row(
                name,
                side,
                str(len(own)),
                f"{own[0].train:,} + {own[0].test:,}",
                ", ".join(sorted({row.chosen for row in own})),
                f"{mean(row.seconds for row in own):.0f}",
                f"{mean(row.accuracy for row in own):.4f}",
                f"{mean(row.ece for row in own):.4f}",
            )
    return table


if __name__ == "__main__":
    main()
