"""Recipes: YAML files checked against the dataclasses below.

A file makes one recipe of its own name, or one for each of its variants, `FILE-VARIANT`:
`variants` lays settings over the file's by name; `grid` names settings and lists their values, and
makes a variant of every combination. Last, a profile's settings are laid over the result.
"""

import copy
import difflib
import hashlib
import itertools
import json
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from artifacts import VitrineError

RECIPES = Path(__file__).parent / "recipes"
Profile = Literal["full", "cpu", "smoke"]
PROFILES: tuple[Profile, ...] = ("full", "cpu", "smoke")


class RecipeError(VitrineError):
    """A recipe is unknown or malformed."""


class _Closed:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)


@dataclass(frozen=True)
class Data(_Closed):
    """What is learned from."""

    name: str
    """As `artifacts.datasets.load` takes it: cifar10, image_folder/FOLDER, synthetic/objects."""
    validation: int
    """Training pictures held out to validate."""
    validation_choice: Literal["random", "first-of-class", "last"] = "random"
    """random: drawn by the recipe's seed. first-of-class: the first of each class in the file's
    order, equally many. last: the end of the file."""
    side: int | None = None
    """Pictures are squashed to a square of this side, px; None keeps arrays as they are."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted per channel (R, G, B) from pictures scaled to 0..1; part of the graph."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by, per channel; part of the graph."""


@dataclass(frozen=True)
class Network(_Closed):
    """Which network, by its name in `training.networks`."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Augment(_Closed):
    """Random changes of training batches; evaluation never augments."""

    flip: Literal["none", "random", "alternating"] = "none"
    """alternating: each picture is mirrored in every second epoch (Jordan 2024)."""
    translate: int = 0
    """Greatest shift in px each way; the border is filled by reflection."""
    cutout: int = 0
    """Side of a grey square put at random, px (DeVries & Taylor 2017)."""
    jitter: float = 0.0
    """Brightness, contrast and saturation are each multiplied by up to 1 -/+ this."""
    rotate: float = 0.0
    """Greatest rotation each way, degrees."""
    shift: float = 0.0
    """Greatest shift each way as a share of the side; what comes in is black."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of magnification."""
    sizes: tuple[str, ...] = ()
    """Each batch is rescaled to one of these WIDTHxHEIGHT, px, drawn at random, and then into the
    native range as the served model would: it learns what it will be shown."""
    early: float = 0.0
    """Share of the run (0..1) that is trained at `early_side`: small pictures cost less, and what
    is coarse is learned first (progressive resizing, Howard 2018). `sizes` holds for the rest."""
    early_side: int = 0
    """Side of the squares that the early pictures are rescaled to, px; 0 for none."""


@dataclass(frozen=True)
class Optimizer(_Closed):
    """How weights move."""

    name: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    lr: float = 1e-3
    """Peak learning rate, before the schedule's factor; of muon, for convolutions."""
    lr_rest: float = 1.0
    """Learning rate of all but convolutions; muon only."""
    momentum: float = 0.9
    """Nesterov momentum; sgd and muon only."""
    weight_decay: float = 0.0
    """Decoupled for adamw, added to the gradient otherwise; weights of rank 2 and more only."""
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "constant"
    """Factor on lr: constant 1; down to 0 over the run along a half cosine or a line; or
    gamma ** epochs done."""
    gamma: float = 1.0
    """Of the exponential schedule, per epoch."""
    warmup: float = 0.0
    """Share of the run (0..1) in which the factor rises from 0 in a line."""
    ema: float = 0.0
    """Decay per step of averaged weights, which then are the ones validated and exported."""


@dataclass(frozen=True)
class Loss(_Closed):
    """What training makes small."""

    name: Literal["cross-entropy", "nll", "nll-on-logits", "doubled-softmax"] = "cross-entropy"
    """nll: of log-softmax, which is cross-entropy in two steps. nll-on-logits: the same without
    log-softmax, a bug kept to be looked at. doubled-softmax: cross-entropy of probabilities taken
    for logits, as where a network ends in softmax; kept to show its cost."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes; cross-entropy only."""


@dataclass(frozen=True)
class Evaluation(_Closed):
    """What is measured through the exported graph besides the data set's own size."""

    sizes: tuple[str, ...] = ()
    """WIDTHxHEIGHT in px; test pictures are rescaled (bicubic) before they are shown."""


@dataclass(frozen=True)
class Recipe(_Closed):
    """Everything that decides what a training run makes."""

    name: str
    title: str
    data: Data
    network: Network
    epochs: int
    batch_size: int
    """Over all devices together."""
    study: str | None = None
    route: str | None = None
    default: bool = False
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Automatic mixed precision."""
    native_side: tuple[int, int] | None = None
    """Range of picture sides shown unscaled when served, px; chosen on validation pictures."""
    fixed_size: tuple[int, int] | None = None
    """(height, width) of a network that takes one size only, px."""
    augment: Augment = Augment()
    optimizer: Optimizer = Optimizer()
    loss: Loss = Loss()
    evaluation: Evaluation = Evaluation()
    reported: dict[str, float] = field(default_factory=dict)
    """Figures that the source study printed, keyed metric/split as the artifact's metrics."""
    remark: str = ""
    """What the study said in words, or what explains a difference from it."""
    profile: Profile = "full"

    @property
    def artifact_name(self) -> str:
        """Smoke runs learn generated pictures and never take the place of the real model."""
        return f"{self.name}-smoke" if self.profile == "smoke" else self.name

    @property
    def hash(self) -> str:
        """sha256 over the settings that decide the result.

        Words and reported figures decide nothing, nor does the name of a profile whose settings
        are laid over already. Settings at their default are left out, so that a new kind of
        setting does not put every artifact out of date.
        """
        settings = _changed(self)
        for word in ("title", "study", "reported", "remark", "route", "default", "profile"):
            settings.pop(word, None)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Names of all recipes, in the order of their files and variants."""
    return list(_all_settings(folder))


def load_recipe(name: str, profile: Profile = "full", folder: Path = RECIPES) -> Recipe:
    """Read a recipe and lay the profile's settings over it.

    Raises:
        RecipeError: unknown name, or the first setting that is not as it must be.
    """
    known = _all_settings(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, cutoff=0.3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise RecipeError(
            f"no recipe called {name!r}; {hint}`python -m training list` names them all."
        )
    settings = dict(known[name])
    profiles = settings.pop("profiles", {})
    unknown = set(profiles) - set(PROFILES)
    if unknown:
        raise RecipeError(f"{name}: profiles {sorted(unknown)} are unknown; use {PROFILES}.")
    settings = _overlay(settings, profiles.get(profile) or {})
    try:
        return TypeAdapter(Recipe).validate_python({**settings, "name": name, "profile": profile})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{name}: {where}: {first['msg']}") from None


def _all_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of every recipe by its name, profiles not yet applied."""
    recipes: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise RecipeError(f"{path.name}: not YAML: {error}") from None
        if not isinstance(settings, dict):
            raise RecipeError(f"{path.name}: a mapping of settings is expected.")
        variants = _variants(settings.pop("grid", None), settings.pop("variants", {}))
        if not variants:
            recipes[path.stem] = settings
        for name, changes in variants.items():
            recipes[f"{path.stem}-{name}"] = _overlay(settings, changes)
    return recipes


def _variants(
    grid: dict[str, list[str]] | None, named: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Changes by variant: the combinations of the grid, and what is named on top."""
    variants: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*grid.values()) if grid else ():
        changes: dict[str, Any] = {}
        for key, value in zip(grid or (), values, strict=True):
            *path, last = key.split(".")
            place = changes
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        variants["-".join(values)] = changes
    return {
        name: _overlay(variants.get(name, {}), named.get(name, {}))
        for name in dict.fromkeys([*variants, *named])
    }


def _overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _overlay(result[key], value) if both else value
    return result


def _changed(settings: Any) -> dict[str, Any]:
    """Fields that differ from their default, nested dataclasses alike."""
    result: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if value != default:
            result[f.name] = _changed(value) if is_dataclass(value) else value
    return result
