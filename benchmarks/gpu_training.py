"""Training and publishing recipes as a user does, on generated pictures, each up to a deadline."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from PIL import Image

from benchmarks.card import Card, Use, watched
from benchmarks.gpu_rows import Row
from benchmarks.servers import ROOT

EPOCH = re.compile(r" (\d+)/\d+  train loss .* ([\d.]+)\+[\d.]+ s$")
"""The line that training logs after an epoch, with the seconds of training and of validating."""
ERROR = "error: "
PATIENCE = 5.0
"""Seconds that an ended run gets to write its checkpoint."""


@dataclass(frozen=True)
class Pictures:
    """A data set to generate: a folder of classes, in the format that is quickest to read."""

    name: str
    classes: int
    size: tuple[int, int]
    """Height and width in px."""
    train: int
    test: int
    validation: int
    """How many of the training pictures are held out."""


@dataclass(frozen=True)
class Job:
    """A recipe to train for some epochs."""

    recipe: str
    pictures: Pictures | None
    """None: those of the profile."""
    epochs: int
    changes: tuple[str, ...] = ()


SMALL = Pictures("small", 10, (32, 32), 20_000, 2_000, 2_000)
DIGITS = Pictures("digits", 10, (28, 28), 20_000, 2_000, 2_000)
FEW = Pictures("few", 10, (32, 32), 6_000, 500, 1_000)
CARS = Pictures("cars", 50, (240, 360), 3_000, 200, 400)
JOBS = (
    Job("cifar10-scratch", SMALL, 4, ("data.size=[32, 32]",)),
    Job("cifar10-lite0", FEW, 3, ("data.size=[32, 32]",)),
    Job("cars-lite0-finetuned", CARS, 3, ("continue_from=null",)),
    Job("mnist-relu-cross-entropy-sgd", DIGITS, 4, ("data.size=[28, 28]",)),
)
"""A net trained from scratch, a network that is fine-tuned on enlarged pictures and on photographs,
and one so small that starting its kernels is most of the work."""


def smoke_jobs() -> list[Job]:
    """Return the smallest two for an epoch each, on the pictures of the profile `smoke`."""
    return [Job(job.recipe, None, 1) for job in (JOBS[0], JOBS[-1])]


@dataclass
class Outcome:
    """How a run went."""

    epochs: list[float] = field(default_factory=list)
    """Seconds of each."""
    publishing: float | None = None
    """Seconds from the last epoch to the end of the run; None if it did not get there."""
    failure: str = ""
    """Why nothing was published; empty if something was."""
    use: Use = field(default_factory=Use)


def generate(pictures: Pictures, root: Path) -> Path:
    """Write noise, of a mean colour for each class, below `root`; returns the folder."""
    folder = root / pictures.name
    random = np.random.default_rng(0)
    colours = random.integers(40, 216, (pictures.classes, 3))
    noise = random.integers(-40, 40, (64, *pictures.size, 3))
    numbers_of = {"train": range(pictures.train)}
    numbers_of["test"] = range(pictures.train, pictures.train + pictures.test)
    for split, numbers in numbers_of.items():
        for label in range(pictures.classes):
            (folder / split / f"{label:03d}").mkdir(parents=True)
        for number in numbers:  # no two pictures are the same, within a split or between them
            label = number % pictures.classes
            shown = (colours[label] + np.roll(noise[number % 64], number // 64)).astype(np.uint8)
            Image.fromarray(shown).save(folder / split / f"{label:03d}" / f"{number:06d}.ppm")
    return folder


def train(job: Job, profile: str, folder: Path, seconds: float, card: Card | None) -> Outcome:
    """Run `vitrine train run` for at most some seconds; it is then stopped.

    Args:
        job: the recipe.
        profile: its profile.
        folder: where pictures, checkpoints and the artifact go.
        seconds: the deadline, which includes the generation of the pictures.
        card: to be read meanwhile.
    """
    end = time.monotonic() + seconds
    changes = [f"epochs={job.epochs}", "route=null"]
    if job.pictures is not None:
        source = folder / job.pictures.name
        if not source.exists():
            generate(job.pictures, folder)
        changes += [
            f"data.name=image_folder/{source}",
            f"data.validation={job.pictures.validation}",
        ]
    command = [sys.executable, "-m", "training", "run", job.recipe, "--profile", profile]
    for change in (*changes, *job.changes):
        command += ["--set", change]
    name = f"gpu-{job.recipe}"
    outcome = _follow([*command, "--name", name], folder, end, card)
    history = folder / "artifacts" / name / "history.csv"
    if history.exists():  # the log rounds to tenths of a second
        with history.open(newline="", encoding="utf-8") as file:
            outcome.epochs = [float(row["train_seconds"]) for row in csv.DictReader(file)]
    return outcome


def _follow(command: Sequence[str], folder: Path, end: float, card: Card | None) -> Outcome:
    outcome = Outcome()
    environment: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "VITRINE_ARTIFACTS": str(folder / "artifacts"),
    }
    process = subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    late = threading.Timer(max(0.0, end - time.monotonic()), _end, [process])
    late.start()
    last, trained = "", 0.0
    try:
        with watched(psutil.Process(process.pid), card) as outcome.use:
            assert process.stderr is not None  # noqa: S101
            for line in process.stderr:
                last = line.strip() or last
                if found := EPOCH.search(line.rstrip()):
                    outcome.epochs.append(float(found[2]))
                    trained = time.monotonic()
            status = process.wait()
    finally:
        late.cancel()
        _end(process)
    if status == 0 and outcome.epochs:
        outcome.publishing = time.monotonic() - trained
    elif time.monotonic() >= end:
        outcome.failure = "the time was up"
    else:
        outcome.failure = last.removeprefix(ERROR)
    return outcome


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return


def rows(job: Job, profile: str, outcome: Outcome) -> list[Row]:
    """Return a row for the epochs and one for publishing, as far as the run got."""
    found = []
    use = outcome.use
    if outcome.epochs:
        # the first one also starts the libraries of the card
        seconds = median(outcome.epochs[1:] or outcome.epochs)
        count = job.pictures.train - job.pictures.validation if job.pictures else None
        found.append(
            Row(
                "training",
                job.recipe,
                f"profile {profile}",
                f"epoch of {count:,} pictures" if count else "epoch",
                pictures_per_second=count / seconds if count and seconds else None,
                seconds=seconds,
                host_mb=use.host_mb,
                card_mb=use.card_mb,
                card_busy=use.card_busy,
                note=f"of {len(outcome.epochs)}, the first in {outcome.epochs[0]:g} s",
            )
        )
    if outcome.publishing is not None:
        row = Row("publishing", job.recipe, f"profile {profile}", "", seconds=outcome.publishing)
        found.append(row)
    return found
