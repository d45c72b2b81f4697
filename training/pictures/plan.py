"""What a run on own pictures decided, kept in `plan.json` so that the run can be continued."""

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import click

from artifacts import DataError
from training.settings import Size

Part = Literal["head", "last-stage", "all"]
"""What is trained besides the head, from the least to the most."""

PLAN_FILE = "plan.json"
VERSION = 1
"""Changes whenever runs of an older version must not be continued."""
SECONDS_PER_PICTURE = 0.4
"""Budget for each picture if none is named."""
MIN_BUDGET, MAX_BUDGET = 60.0, 600.0
"""Range of that budget, in seconds."""
MAX_EPOCHS = 30
"""Maximum number of epochs of a candidate: more of them have not paid."""
MIN_EPOCHS = 5
"""Minimum number of epochs with which a candidate is worth training. After four epochs on 602
pictures of 40 people, all layers were worse than the head alone, and the last stage was better."""
MAX_ASPECT = 2.0
"""Maximum ratio of the longer to the shorter side of the pictures that the network sees."""
ENLARGED = 2
"""Pictures are seen at so many times their median side, within `MIN_SIDE` and `MAX_SIDE`."""
MIN_SIDE, MAX_SIDE = 128, 224
"""Sides of a square in px. Small pictures hold no details that a larger side would show, and at
half the side training takes a quarter of the time."""
STEP = 8
"""Height and width are multiples of this number of pixels."""


class Budget(click.ParamType[float]):
    """A duration such as 90s, 10m or 1h30m, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the duration in seconds."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", str(value).strip())
        seconds = (
            sum(
                int(part or 0) * unit
                for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)
            )
            if found
            else 0
        )
        if not seconds:
            self.fail(f"{value!r} is no duration; write it as 90s, 10m or 1h30m.", param, ctx)
        return float(seconds)


@dataclass
class Tried:
    """A candidate that was trained, or is being trained."""

    epochs: int
    seconds: float = 0.0
    """Time that training took."""
    accuracy: float | None = None
    """Accuracy on validation pictures, 0..1; None while it is being trained. It is the mean average
    precision if a picture may have several labels."""
    loss: float | None = None
    """Loss on validation pictures after calibration; see `head.loss_and_score`."""


@dataclass
class Figures:
    """The figures of the finished model on test pictures."""

    right: int
    """Number of test pictures that the model answers rightly, which includes all their labels."""
    total: int
    balanced: float
    """Mean recall of the classes, 0..1; the mean average precision if a picture may have several
    labels."""
    picture: str
    """Path of the first test picture."""


@dataclass
class Plan:
    """Everything that was measured and decided, which is what `plan.json` holds."""

    key: str
    """Identifies the pictures and the options; a run with another key starts anew."""
    size: Size | None = None
    """(height, width) in px at which the network sees every picture."""
    flip: bool | None = None
    """Whether mirrored pictures are trained on."""
    strength: float | None = None
    """Strength of the penalty of the head on frozen layers."""
    candidates: dict[Part, Tried] = field(default_factory=dict)
    """By what is trained; in the order in which they were tried."""
    scheduled: bool = False
    """Whether it is decided which candidates are trained."""
    chosen: Part | None = None
    spent: float = 0.0
    """Time that was spent on training, exporting and measuring so far, in seconds."""
    reasons: list[str] = field(default_factory=list)
    """Sentences that explain the decisions, in order."""
    tested: Figures | None = None
    """What was measured on test pictures; None until the model and its page are written."""
    version: int = VERSION

    def save(self, folder: Path) -> None:
        """Write the plan atomically into a folder."""
        path = folder / PLAN_FILE
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def load_plan(folder: Path, key: str) -> Plan:
    """Read the plan of an earlier run with the same key, or return a new one."""
    try:
        content = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        if content["key"] != key or content["version"] != VERSION:
            return Plan(key)
        tried = {name: Tried(**each) for name, each in content.pop("candidates").items()}
        size, tested = content.pop("size"), content.pop("tested")
        return Plan(
            **content,
            candidates=tried,
            size=tuple(size) if size else None,
            tested=Figures(**tested) if tested else None,
        )
    except FileNotFoundError:
        return Plan(key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / PLAN_FILE}: cannot be read ({error}); remove the folder {folder} to start "
            "anew."
        ) from None


class Clock:
    """Measures the time that a run has spent, with that of its interrupted beginnings.

    Args:
        plan: Its `spent` is kept up to date by `stop`.
        budget: Time that the run may take, seconds.
    """

    def __init__(self, plan: Plan, budget: float) -> None:
        self.plan, self.budget = plan, budget
        self._before, self._began = plan.spent, time.monotonic()

    @property
    def spent(self) -> float:
        """Time spent so far, seconds."""
        return self._before + time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Time left of the budget, seconds; negative if it is exceeded."""
        return self.budget - self.spent

    def save(self, folder: Path) -> None:
        """Write the plan with the time spent so far."""
        self.plan.spent = self.spent
        self.plan.save(folder)


def default_budget(pictures: int) -> float:
    """Return the budget for a number of pictures, in seconds."""
    return min(max(SECONDS_PER_PICTURE * pictures, MIN_BUDGET), MAX_BUDGET)


def choose_size(sizes: Sequence[tuple[int, int]], side: int | None) -> Size:
    """Return the (height, width) at which the network sees pictures.

    It has the median aspect ratio of the pictures, within `MAX_ASPECT`, and about the area of a
    square.

    Args:
        sizes: Width and height of each picture, px.
        side: Side of that square, px; None to choose it by the pictures.
    """
    if side is None:
        areas = sorted(width * height for width, height in sizes)
        side = round(min(max(ENLARGED * areas[len(areas) // 2] ** 0.5, MIN_SIDE), MAX_SIDE))
    ratios = sorted(width / height for width, height in sizes)
    ratio = min(max(ratios[len(ratios) // 2], 1 / MAX_ASPECT), MAX_ASPECT)
    height, width = (
        max(STEP, STEP * round(side * factor / STEP)) for factor in (ratio**-0.5, ratio**0.5)
    )
    return height, width


def fitting_epochs(available: float, epoch: float) -> int:
    """Return how many epochs fit into the available time, at most `MAX_EPOCHS`; 0 if too few do.

    Args:
        available: Time, seconds.
        epoch: Time that an epoch takes, seconds.
    """
    count = min(MAX_EPOCHS, math.floor(available / epoch))
    return count if count >= MIN_EPOCHS else 0


def better(one: Tried, other: Tried, pictures: int) -> bool:
    """Return whether a candidate is better than another one on validation pictures.

    The accuracies are compared first. If they differ by less than one standard error, the losses
    decide, which depend less on chance. The standard error is that of a share; for the mean average
    precision, it is an approximation.

    Args:
        one: A trained candidate.
        other: The candidate that it is compared with.
        pictures: Number of validation pictures.
    """
    assert one.accuracy is not None  # noqa: S101 - both were trained
    assert other.accuracy is not None  # noqa: S101
    assert one.loss is not None  # noqa: S101
    assert other.loss is not None  # noqa: S101
    mean = (one.accuracy + other.accuracy) / 2
    error = math.sqrt(max(mean * (1 - mean), 1 / pictures) / pictures)
    if abs(one.accuracy - other.accuracy) >= error:
        return one.accuracy > other.accuracy
    return one.loss < other.loss
