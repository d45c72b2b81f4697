"""Recipes: YAML files checked against `Recipe` and the settings it is made of.

A file makes one recipe of its own name, or one for each of its variants, `FILE-VARIANT`:
`variants` lays settings over the file's by name; `grid` names settings and lists their values, and
makes a variant of every combination. Last, a profile's settings are laid over the result.
"""

import copy
import difflib
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from artifacts import InputPolicy, VitrineError
from training.settings import Augment, Closed, Data, Evaluation, Loss, Network, Optimizer, Size, Svm

RECIPES = Path(__file__).parent / "recipes"
Profile = Literal["full", "cpu", "smoke"]
PROFILES: tuple[Profile, ...] = ("full", "cpu", "smoke")


class RecipeError(VitrineError):
    """A recipe is unknown or malformed."""


@dataclass(frozen=True)
class Recipe(Closed):
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
    fixed_size: Size | None = None
    """(height, width) of a network that takes one size only, px."""
    cache: Literal["none", "fp32", "bf16", "fp16"] = "none"
    """Compute what comes before the first layer that trains once, and keep it on disk as numbers
    of this kind: epochs then cost the rest alone. Of the augmentations it allows flips."""
    head_from: str | None = None
    """Recipe whose trained head this one starts from; it is trained first where it is missing."""
    svm: Svm | None = None
    """Fit this instead of training; the trunk is frozen, and `epochs` do not count."""
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: Loss = field(default_factory=Loss)
    evaluation: Evaluation = field(default_factory=Evaluation)
    reported: dict[str, float] = field(default_factory=dict)
    """Figures that the source study printed, keyed metric/split as the artifact's metrics."""
    search: dict[str, list[float]] = field(default_factory=dict)
    """Settings by dotted name, such as optimizer.lr, and the values that a search draws from."""
    remark: str = ""
    """What the study said in words, or what explains a difference from it."""
    profile: Profile = "full"
    command: str = ""
    """That trains it, where it is not `python -m training run NAME --profile PROFILE`."""

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other."""
        if not self.loss.embeds:
            return
        if self.cache != "none" or self.svm:
            raise ValueError("embeddings take no cache and no svm")
        if self.data.validation_choice != "classes":
            raise ValueError("embeddings need data.validation_choice: classes")
        if (self.loss.name == "arcface") != (self.network.options.get("head") == "cosine"):
            raise ValueError("the loss arcface, and it alone, needs network.options.head: cosine")

    @property
    def artifact_name(self) -> str:
        """Smoke runs learn generated pictures and never take the place of the real model."""
        return f"{self.name}-smoke" if self.profile == "smoke" else self.name

    @property
    def policy(self) -> InputPolicy:
        """How pictures of any size are shown to the network, in training as when served."""
        return InputPolicy(native_side=self.native_side, fixed_size=self.fixed_size)

    @property
    def hash(self) -> str:
        """sha256 over the settings that decide the result.

        Words and reported figures decide nothing, nor does the name of a profile whose settings
        are laid over already. Settings at their default are left out, so that a new kind of
        setting does not put every artifact out of date.
        """
        settings = _changed(self)
        for word in (
            "title",
            "study",
            "reported",
            "remark",
            "route",
            "default",
            "profile",
            "command",
            "search",
        ):
            settings.pop(word, None)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Names of all recipes, in the order of their files and variants."""
    return list(_all_settings(folder))


def load_recipe(
    name: str,
    profile: Profile = "full",
    folder: Path = RECIPES,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe and lay the profile's settings over it.

    Args:
        name: of the recipe.
        profile: whose settings are laid over it.
        folder: of the recipes.
        changes: settings by dotted name, such as optimizer.lr, laid over both.

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
    settings = copy.deepcopy(known[name])
    profiles = settings.pop("profiles", {})
    unknown = set(profiles) - set(PROFILES)
    if unknown:
        raise RecipeError(f"{name}: profiles {sorted(unknown)} are unknown; use {PROFILES}.")
    settings = _overlay(settings, profiles.get(profile) or {})
    settings = _overlay(settings, _nested(changes or {}))
    try:
        return TypeAdapter(Recipe).validate_python({**settings, "name": name, "profile": profile})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(": ".join(filter(None, [name, where, first["msg"]]))) from None


def _all_settings(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Settings of every recipe by its name, profiles not yet applied; not to be changed."""
    paths = sorted(folder.glob("*.yaml"))
    return _settings_of(tuple((path.stem, path.read_text(encoding="utf-8")) for path in paths))


@functools.lru_cache(maxsize=1)  # parsing takes long, and commands load one recipe after another
def _settings_of(files: tuple[tuple[str, str], ...]) -> Mapping[str, dict[str, Any]]:
    """Settings of the recipes in files, each given by its stem and its text."""
    recipes: dict[str, dict[str, Any]] = {}
    for stem, text in files:
        try:
            settings = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"{stem}.yaml: not YAML: {error}") from None
        if not isinstance(settings, dict):
            raise RecipeError(f"{stem}.yaml: a mapping of settings is expected.")
        variants = _variants(settings.pop("grid", None), settings.pop("variants", {}))
        if not variants:
            recipes[stem] = settings
        for name, changes in variants.items():
            recipes[f"{stem}-{name}"] = _overlay(settings, changes)
    return recipes


def _variants(
    grid: dict[str, list[str]] | None, named: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Changes by variant: the combinations of the grid, and what is named on top."""
    variants: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*grid.values()) if grid else ():
        variants["-".join(values)] = _nested(dict(zip(grid or (), values, strict=True)))
    return {
        name: _overlay(variants.get(name, {}), named.get(name, {}))
        for name in dict.fromkeys([*variants, *named])
    }


def _nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name as the tree that a file would have."""
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


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
