"""Checks whether artifacts are up to date; imports no torch, so that a listing is quick."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from artifacts import Artifact, ArtifactError, DataError
from artifacts.datasets import load
from artifacts.names import artifact_names
from training.recipe import Recipe, RecipeError
from training.settings import Network

NETWORKS = Path(__file__).parent / "networks"


@dataclass(frozen=True)
class Status:
    """Whether an artifact is up to date with its recipe, and the reason."""

    current: bool
    reason: str

    @property
    def short(self) -> str:
        """The reason in few words, for a narrow table."""
        return self.reason.partition(" (")[0].partition(": ")[0]


def status(recipe: Recipe, *, compare_data: bool = True) -> Status:
    """Compare the artifact on disk with its recipe, its network's code and its data.

    Args:
        recipe: the recipe whose artifact is compared.
        compare_data: whether to read the whole data set too, which takes seconds or more.
    """
    try:
        manifest = Artifact.open(recipe.artifact_name).manifest
    except ArtifactError as error:
        known = recipe.artifact_name in artifact_names()
        return Status(current=False, reason=str(error) if known else "missing")
    record, data = manifest.recipe, manifest.dataset
    if record is None or data is None or record.hash != recipe.hash:
        return Status(current=False, reason="the recipe changed")
    if record.code != code_hash(recipe.network):
        return Status(current=False, reason="the network's code changed")
    if not compare_data:
        return Status(current=True, reason="up to date (the data was not compared)")
    now = _fingerprint(recipe.data.name)
    if now is None:
        return Status(current=True, reason="up to date (the data is missing and was not compared)")
    changed = data.fingerprint != now
    return Status(current=not changed, reason="the data changed" if changed else "up to date")


def code_hash(network: Network) -> str:
    """Return the sha256 of a network's source file; a change in it puts artifacts out of date.

    It covers the module of the network's builder alone. A change in a module that this one imports,
    such as `backbone.py` for `embedder.py`, is not noticed, nor is another version of a library:
    train with `--force` after such a change.

    Raises:
        RecipeError: no network has this name.
    """
    try:
        source = (NETWORKS / f"{network.name}.py").read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"network {network.name!r} has no source file ({error}).") from None
    return hashlib.sha256(source.encode()).hexdigest()


@functools.cache
def _fingerprint(dataset: str) -> str | None:
    try:
        return load(dataset, "train").fingerprint
    except DataError:
        return None
