"""Where graphs run: the CPU or NVIDIA GPUs, whether these can be used, and how sessions use them.

`VITRINE_DEVICE` says which is wanted. ONNX Runtime falls back to the CPU without an error if a GPU
cannot be used; here, every session is asked where it runs.
"""

import ctypes
import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from artifacts.distribution import install_command
from artifacts.errors import ArtifactError, VitrineError
from artifacts.provenance import has_gpu

if TYPE_CHECKING:
    from artifacts.pictures import Picture

CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""What ONNX Runtime calls each device."""
GPU_PROVIDERS = frozenset(PROVIDERS.values()) - {CPU}
NVIDIA = GPU_PROVIDERS | {"NvTensorRTRTXExecutionProvider"}
"""Providers that need a GPU of NVIDIA."""
REMOTE = frozenset({"AzureExecutionProvider"})
"""Providers that send their input to another machine."""
ASKED = ("auto", *PROVIDERS)
"""Values of `VITRINE_DEVICE`. auto means CUDA if it can be used, otherwise the CPU."""
FOUND = "VITRINE_DEVICE_FOUND"
"""Set by a server for its workers, so that each of them need not look for the device again."""
NO_DEVICE = 100
"""What CUDA's driver returns if there is no GPU (CUDA_ERROR_NO_DEVICE)."""
MAX_PADDED = 256
"""Largest batch that is padded to a power of two."""

INSTALL = "pip install 'onnxruntime-gpu[cuda,cudnn]'"

# Read by ONNX Runtime when it is imported. It would otherwise tell Microsoft how it is used, from a
# thread and a file of its own.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

log = logging.getLogger("vitrine.runtime")

Opener = Callable[..., Any]
"""Opens sessions, as `onnxruntime.InferenceSession` does."""


class Device(NamedTuple):
    """What the graphs of this process run on."""

    asked: str
    """The value of `VITRINE_DEVICE`."""
    used: str
    """cpu, cuda or tensorrt; or the name of another execution provider, to be tried."""
    gpus: int = 0
    """Number of GPUs that may be used; 0 on the CPU."""
    problem: str = ""
    """Why the CPU is used although there is a GPU, or an ONNX Runtime for one; otherwise empty."""

    @property
    def on_gpu(self) -> bool:
        """Whether graphs run on a GPU of NVIDIA."""
        return PROVIDERS.get(self.used) in GPU_PROVIDERS


def current() -> Device:
    """The device that `VITRINE_DEVICE` asks for, or what is used instead.

    Raises:
        VitrineError: the variable is not valid, or the device cannot be used.
    """
    return _current(os.environ.get("VITRINE_DEVICE") or "auto", os.environ.get(FOUND, ""))


@cache
def _current(asked: str, found: str) -> Device:
    if found:
        device = Device(*json.loads(found))
        if device.asked == asked:
            return device
    return find(asked, available(), gpu_problem)


def named(provider: str) -> Device:
    """The device that an execution provider of ONNX Runtime stands for."""
    used = next((key for key, name in PROVIDERS.items() if name == provider), provider)
    return Device(used, used)


def other_providers() -> list[str]:
    """The execution providers, besides the CPU, that this machine may be able to use.

    They are those that ONNX Runtime was built with, in its order of precedence, without those that
    send pictures elsewhere, and without NVIDIA's if there is no GPU of NVIDIA.
    """
    built = [name for name in available() if name != CPU and name not in REMOTE]
    return [name for name in built if has_gpu() or name not in NVIDIA]


def available() -> list[str]:
    """The execution providers of the installed ONNX Runtime."""
    import onnxruntime as ort  # noqa: PLC0415 - opening an artifact does not need it

    return list(ort.get_available_providers())


def find(asked: str, providers: list[str], gpu_problem: Callable[[str], tuple[int, str]]) -> Device:
    """Find out what to use.

    Args:
        asked: one of `ASKED`.
        providers: those of the installed ONNX Runtime.
        gpu_problem: returns, for a provider, the number of GPUs and why they cannot be used.

    Raises:
        VitrineError: `asked` is not valid, or names a device that cannot be used.
    """
    if asked not in ASKED:
        raise VitrineError(
            f"VITRINE_DEVICE={asked}: {', '.join(ASKED[:-1])} or {ASKED[-1]} is expected."
        )
    if asked == "cpu":
        return Device(asked, "cpu")
    wanted = "cuda" if asked == "auto" else asked
    gpus, problem = 0, ""
    if PROVIDERS[wanted] in providers:
        gpus, problem = gpu_problem(PROVIDERS[wanted])
    elif asked != "auto" or has_gpu():
        known = [name for name, provider in PROVIDERS.items() if provider in providers]
        problem = (
            f"the installed ONNX Runtime has no {PROVIDERS[wanted]} (it can use: "
            f"{', '.join(known)}); replace it: pip uninstall -y onnxruntime, then {INSTALL}"
        )
    if gpus and not problem:
        return Device(asked, wanted, gpus)
    if asked != "auto":
        raise VitrineError(
            f"VITRINE_DEVICE={asked} cannot be used: {problem}. Or set VITRINE_DEVICE=cpu."
        )
    return Device(asked, "cpu", problem=problem)


def gpu_problem(provider: str) -> tuple[int, str]:
    """The number of GPUs that this process may use, and why `provider` cannot use them, if so."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, (
            "there is no NVIDIA driver (libcuda.so.1 is missing); install it on the host, and give "
            "a container the GPU, as with `docker run --gpus all`"
        )
    status = driver.cuInit(0)
    count = ctypes.c_int()
    status = status or driver.cuDeviceGetCount(ctypes.byref(count))
    if status == NO_DEVICE or (not status and not count.value):
        return 0, (
            "the NVIDIA driver finds no GPU; check `nvidia-smi` and CUDA_VISIBLE_DEVICES="
            + os.environ.get("CUDA_VISIBLE_DEVICES", "(unset)")
        )
    if status:
        return 0, (
            f"the NVIDIA driver does not start (CUDA error {status}); check `nvidia-smi`, and that "
            "the driver is new enough for this ONNX Runtime"
        )
    return count.value, _try(provider)


def gpu_name() -> str:
    """The driver's name of the first GPU that this process may use; empty if there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    gpu, name = ctypes.c_int(), ctypes.create_string_buffer(100)
    status = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(gpu), 0)
    status = status or driver.cuDeviceGetName(name, len(name), gpu)
    return "" if status else name.value.decode()


def _try(provider: str) -> str:
    """Run one addition on a provider; returns why that fails, or an empty string."""
    import numpy as np  # noqa: PLC0415
    import onnxruntime as ort  # noqa: PLC0415
    from onnx import TensorProto, helper  # noqa: PLC0415

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", "xx", "y")], "try", ends[:1], ends[1:])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    try:
        ort.preload_dlls()
        session = ort.InferenceSession(model, providers=[provider], enable_fallback=0)
        if session.get_providers()[0] == provider:
            session.run(None, {"x": np.ones(1, np.float32)})
            return ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the GPU cannot be used
        return f"ONNX Runtime cannot run a graph there: {str(error).splitlines()[0]}"
    return f"ONNX Runtime does not start {provider}: {_missing_library(provider)}"


def _missing_library(provider: str) -> str:
    """The loader's reason for not loading the library of a provider."""
    import onnxruntime as ort  # noqa: PLC0415

    folder = Path(ort.__file__).parent / "capi"
    kind = "tensorrt" if provider == PROVIDERS["tensorrt"] else "cuda"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / f"libonnxruntime_providers_{kind}.so"))
    except OSError as error:
        install = "pip install tensorrt" if kind == "tensorrt" else INSTALL
        return f"{error}; {install} brings the libraries that it needs"
    return "it gives no reason"


def check_openvino() -> None:
    """Check that OpenVINO is installed.

    Raises:
        VitrineError: it is not installed.
    """
    if find_spec("openvino") is None:
        raise VitrineError(f"OpenVINO is not installed: {install_command('serve', 'openvino')}")


def use_one_gpu(number: int, gpus: int, environment: Mapping[str, str] = os.environ) -> str:
    """The value of CUDA_VISIBLE_DEVICES with which worker `number` (from 1) sees one GPU.

    The workers take the GPUs in turn.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES", "")
    visible = [name.strip() for name in given.split(",") if name.strip()]
    names = visible or [str(gpu) for gpu in range(gpus)]
    return names[(number - 1) % gpus]


def providers_for(device: Device) -> list[tuple[str, dict[str, str]]]:
    """The providers to open a session with, the first one the one that has to be used."""
    if not device.on_gpu:
        others: list[tuple[str, dict[str, str]]] = [(device.used, {})]
        return [(CPU, {})] if device.used == "cpu" else [*others, (CPU, {})]
    cuda = {
        # A search for the best convolution would be repeated for every size of pictures.
        "cudnn_conv_algo_search": "HEURISTIC",
        # By default, the arena doubles with each allocation.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if limit := os.environ.get("VITRINE_GPU_MEGABYTES"):
        cuda["gpu_mem_limit"] = str(int(limit) * 1_000_000)
    chosen = [(PROVIDERS["cuda"], cuda)]
    if device.used == "tensorrt":
        chosen.insert(0, (PROVIDERS["tensorrt"], {}))
    return [*chosen, (CPU, {})]


def open_session(source: bytes | str, options: Any, device: Device, opener: Opener) -> Any:
    """Open a session on a device, and make sure that it runs there.

    Args:
        source: serialized ONNX model, or the path of an optimized one.
        options: `onnxruntime.SessionOptions`.
        device: to run on.
        opener: `onnxruntime.InferenceSession`.

    Returns:
        The session. With auto it may run on the CPU, which is logged.

    Raises:
        ArtifactError: the session would run elsewhere than on the device that was asked for.
    """
    wanted = providers_for(device)
    # Without it, ONNX Runtime would repeat on the CPU what fails on the GPU, from then on.
    session = opener(source, options, providers=wanted, enable_fallback=0)
    found = str(session.get_providers()[0])
    if found != wanted[0][0]:
        message = f"a graph runs on {found}, although {wanted[0][0]} was asked for"
        if device.asked != "auto":
            raise ArtifactError(f"{message}; the log of ONNX Runtime may say why.")
        log.warning("%s", message)
    return session


def padded_length(count: int) -> int:
    """The size to which a batch on a GPU is padded: a power of two, as long as it is small.

    cuDNN prepares each layer for every shape that it has not seen, which takes longer than the
    pictures that are computed in vain.
    """
    return 1 << (count - 1).bit_length() if count <= MAX_PADDED else count


def pad(images: "Picture") -> "Picture":
    """Repeat the last picture of a batch (N x H x W x 3) up to `padded_length`."""
    import numpy as np  # noqa: PLC0415 - the process that starts the workers does not need it

    missing = padded_length(len(images)) - len(images)
    if not missing:
        return images
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
