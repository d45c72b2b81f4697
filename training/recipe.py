"""Recipes: YAML files that are validated against `Recipe` and its groups of settings.

A file defines one recipe of the same name, or one recipe `FILE-VARIANT` for each of its variants.
`variants` overrides settings of the file by variant name. `grid` lists values of settings, and
every combination of them becomes a variant. The settings of a profile are applied last.
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
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from artifacts import InputPolicy, VitrineError
from artifacts.input_policy import Normalisation
from artifacts.manifest import check_route
from training.settings import (
    Augment,
    Data,
    Evaluation,
    Loss,
    Network,
    Optimizer,
    Size,
    StrictSettings,
    Svm,
)

RECIPES = Path(__file__).parent / "recipes"
Profile = Literal["full", "cpu", "smoke"]
PROFILES: tuple[Profile, ...] = ("full", "cpu", "smoke")


class RecipeError(VitrineError):
    """A recipe is unknown or malformed."""


@dataclass(frozen=True)
class Recipe(StrictSettings):
    """All settings of a training run."""

    name: str
    title: str
    data: Data
    network: Network
    epochs: int
    batch_size: int
    """Pictures per batch, over all devices together."""
    study: str | None = None
    route: str | None = None
    """Purpose whose address the model also serves; see `artifacts.manifest.check_route`."""
    default: bool = False
    seed: int = 0
    precision: Annotated[
        Literal["no", "bf16", "fp16"],
        BeforeValidator(lambda value: "no" if value is False else value),
    ] = "no"
    """Automatic mixed precision. YAML reads an unquoted `no` as false, which is the same here."""
    native_side: tuple[int, int] | None = None
    """(min, max) side of the pictures that are served unscaled, px; chosen on validation pictures.
    Other pictures are scaled into this range."""
    fixed_size: Size | None = None
    """(height, width) in px of a network that takes a single size only."""
    cache: Literal["none", "fp32", "bf16", "fp16"] = "none"
    """Precision in which the outputs of the frozen layers are cached on disk. They are computed
    once, so that epochs only run the layers behind them. Flips are the only augmentation that
    this allows."""
    head_from: str | None = None
    """Name of the recipe whose trained head is the initial head; it is trained first if missing."""
    svm: Svm | None = None
    """Fit a support-vector machine instead of training; the trunk is frozen and `epochs` unused."""
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: Loss = field(default_factory=Loss)
    evaluation: Evaluation = field(default_factory=Evaluation)
    reported: dict[str, float] = field(default_factory=dict)
    """Figures that the source study reported; the keys are metric/split, as in artifacts."""
    search: dict[str, list[float]] = field(default_factory=dict)
    """Values that a search draws from, by the dotted name of the setting, such as optimizer.lr."""
    remark: str = ""
    """A result that the study stated in words, or the reason for a difference from the study."""
    profile: Profile = "full"
    command: str = ""
    """The command that trains it; empty for `vitrine train run NAME --profile PROFILE`."""

    def __post_init__(self) -> None:
        """Raise ValueError for settings that exclude each other, and for a wrong route."""
        try:
            check_route(self.route, "embedding" if self.loss.embeds else "classification")
        except ValueError as error:
            raise ValueError(f"route {self.route!r}: {error}") from None
        if not self.loss.embeds:
            return
        if self.cache != "none" or self.svm:
            raise ValueError("a loss of embeddings allows neither cache nor svm; remove them")
        if self.data.validation_choice != "classes":
            raise ValueError("a loss of embeddings needs data.validation_choice: classes")
        if (self.loss.name == "arcface") != (self.network.options.get("head") == "cosine"):
            raise ValueError(
                "the loss arcface needs network.options.head: cosine; no other loss takes it"
            )

    @property
    def artifact_name(self) -> str:
        """Name of the artifact. A smoke run has a name of its own and never replaces the model."""
        return f"{self.name}-smoke" if self.profile == "smoke" else self.name

    @property
    def policy(self) -> InputPolicy:
        """How pictures of any size are prepared for the network, in training and in serving."""
        return InputPolicy(
            native_side=self.native_side,
            fixed_size=self.fixed_size,
            normalisation=Normalisation(mean=self.data.mean, std=self.data.std),
        )

    @property
    def hash(self) -> str:
        """sha256 of the settings that influence the result of training.

        It leaves out texts, reported figures and the name of the profile, whose settings are
        applied already. Settings with their default value are left out too, so that adding a
        setting does not put every artifact out of date.
        """
        settings = _non_default(self)
        for key in (
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
            settings.pop(key, None)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


_ADAPTER = TypeAdapter(Recipe)


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Return the names of all recipes, in the order of their files and variants."""
    return list(_all_settings(folder))


def load_recipes(profile: Profile = "full", folder: Path = RECIPES) -> list[Recipe]:
    """Read every recipe, in the order of their files and variants.

    Raises:
        RecipeError: A setting is invalid; the message names the first.
    """
    return [_checked(name, settings, profile) for name, settings in _all_settings(folder).items()]


def load_recipe(
    name: str,
    profile: Profile = "full",
    folder: Path = RECIPES,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe and apply the settings of a profile.

    Args:
        name: Name of the recipe.
        profile: Profile whose settings override those of the recipe.
        folder: Folder of the recipe files.
        changes: Settings by dotted name, such as optimizer.lr, that override both.

    Raises:
        RecipeError: The name is unknown, or a setting is invalid; the message names the first.
    """
    known = _all_settings(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, cutoff=0.3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise RecipeError(f"no recipe called {name!r}; {hint}`vitrine train list` shows all names.")
    return _checked(name, known[name], profile, changes)


def _checked(
    name: str,
    shared: Mapping[str, Any],
    profile: Profile,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Build a recipe of settings, overridden by those of the profile and then by `changes`.

    `shared` belongs to the parsed files, and is not changed.
    """
    settings = copy.deepcopy(dict(shared))
    profiles = settings.pop("profiles", {})
    unknown = set(profiles) - set(PROFILES)
    if unknown:
        raise RecipeError(f"{name}: profiles {sorted(unknown)} are unknown; use {PROFILES}.")
    settings = _overlay(settings, profiles.get(profile) or {})
    settings = _overlay(settings, _nested(changes or {}))
    try:
        return _ADAPTER.validate_python({**settings, "name": name, "profile": profile})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(": ".join(filter(None, [name, where, first["msg"]]))) from None


def _all_settings(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Return the settings of every recipe by name, before profiles are applied.

    They are shared between callers and must not be changed.
    """
    paths = sorted(folder.glob("*.yaml"))
    return _settings_of(tuple((path.stem, path.read_text(encoding="utf-8")) for path in paths))


@functools.lru_cache(maxsize=1)  # parsing takes long, and commands load one recipe after another
def _settings_of(files: tuple[tuple[str, str], ...]) -> Mapping[str, dict[str, Any]]:
    """Return the settings of the recipes in files, each given by its stem and its text."""
    recipes: dict[str, dict[str, Any]] = {}
    for stem, text in files:
        try:
            settings = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"{stem}.yaml: the file is not YAML: {error}") from None
        if not isinstance(settings, dict):
            raise RecipeError(f"{stem}.yaml: the file must be a YAML mapping of settings.")
        variants = _variants(settings.pop("grid", None), settings.pop("variants", {}))
        if not variants:
            recipes[stem] = settings
        for name, changes in variants.items():
            recipes[f"{stem}-{name}"] = _overlay(settings, changes)
    return recipes


def _variants(
    grid: dict[str, list[str]] | None, named: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the overrides of each variant: combinations of the grid, then those given by name."""
    variants: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*grid.values()) if grid else ():
        variants["-".join(values)] = _nested(dict(zip(grid or (), values, strict=True)))
    return {
        name: _overlay(variants.get(name, {}), named.get(name, {}))
        for name in dict.fromkeys([*variants, *named])
    }


def _nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Turn settings with dotted names into nested dictionaries, as in a file."""
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *path, last = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    return tree


def _overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by `changes`, nested mappings key by key."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _overlay(result[key], value) if both else value
    return result


def _non_default(settings: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults; nested dataclasses become dictionaries."""
    result: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if value != default:
            result[f.name] = _non_default(value) if is_dataclass(value) else value
    return result
