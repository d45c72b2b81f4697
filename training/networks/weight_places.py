"""Says where a network's pre-trained weights come from, and finds those that are on this machine.

Nothing here needs a network connection.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
import torch
import torchvision
from huggingface_hub import try_to_load_from_cache

HUB_FILE = "model.safetensors"
SUFFIXES = (".safetensors", ".pth")
"""Of the files that are looked for in `weights_root()`, the preferred one first."""


@dataclass(frozen=True)
class Published:
    """What a library says of the weights that it publishes for a network."""

    url: str | None = None
    """Where to download them; None: the library has none."""
    licence: str | None = None
    """As the library states it; None: it does not."""
    sha256: str | None = None
    """The hash of the file, or the first digits of it, hexadecimal; None: unknown."""


def weights_root() -> Path:
    """Return the folder of downloaded weights: `VITRINE_WEIGHTS`, or `weights/` by default."""
    return Path(os.environ.get("VITRINE_WEIGHTS") or "weights")


def published(library: str, name: str) -> Published:
    """Return what a library says of the weights of a network.

    Args:
        library: timm or torchvision.
        name: The library's name of the network, which it must have.
    """
    if library == "torchvision":
        url = str(torchvision.models.get_model_weights(name).DEFAULT.url)
        return Published(url, sha256=hash_in(url))
    repository = _repository(name)
    if repository is None:
        return Published()
    config = timm.get_pretrained_cfg(name)
    url = f"https://huggingface.co/{repository}/resolve/main/{HUB_FILE}"
    return Published(url, config.license if config else None)


def hash_in(name: str) -> str | None:
    """Return the digits of the sha256 with which files of PyTorch end their names, if they do."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    return found[1] if found else None


def place(library: str, name: str, suffix: str | None = None) -> Path:
    """Return where to put the weights of a network so that training finds them.

    Args:
        library: timm or torchvision.
        name: The library's name of the network.
        suffix: The file's; that of the library's own file by default.
    """
    if suffix is None:
        url = published(library, name).url
        suffix = Path(url).suffix if url else SUFFIXES[0]
    return weights_root() / f"{library}-{name}{suffix}"


def find(library: str, name: str) -> tuple[Literal["file", "cache"], Path] | None:
    """Return the weights that are on this machine, or None.

    Returns:
        file, a file in `weights_root()`, or cache, one that timm or torchvision downloaded; and
        its path.
    """
    for suffix in SUFFIXES:
        path = place(library, name, suffix)
        if path.exists():
            return "file", path
    cached: object = None
    if library == "torchvision":
        url = published(library, name).url
        cached = url and Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    elif repository := _repository(name):
        cached = try_to_load_from_cache(repository, HUB_FILE)
    if isinstance(cached, str | Path) and Path(cached).exists():
        return "cache", Path(cached)
    return None


def _repository(name: str) -> str | None:
    """Return the repository of timm's weights on the hub; None if there is none."""
    config = timm.get_pretrained_cfg(name)
    return (config and config.hf_hub_id) or None
