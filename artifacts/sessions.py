"""The runtimes of graphs: ONNX Runtime, or OpenVINO where it is installed and asked for.

Both take uint8 pictures of any size and return the outputs that the graph names.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from artifacts.devices import Device, check_openvino, current, named, open_session, pad
from artifacts.distribution import locked
from artifacts.errors import ArtifactError
from artifacts.graph import INPUT
from artifacts.provenance import cores

Rows = npt.NDArray[np.float32]

PREPARED_KERNELS = 1000
"""Kernels that OpenVINO caches, one set for each picture size. After 200 sizes, a process with
EfficientNet-Lite0 took 265 MB; with OpenVINO's default of 5,000 kernels it took 534 MB."""


ON_CPU = Device("cpu", "cpu")


class Session(Protocol):
    """A graph that can be run, from several threads at once."""

    output_names: tuple[str, ...]
    provider: str
    """Name of what runs the graph, as answers state it."""

    def run(self, names: Sequence[str], images: npt.NDArray[np.uint8]) -> list[Rows]:
        """Return the outputs called `names` for uint8 N x H x W x 3."""


Engine = Callable[[bytes, int], Session]
"""Makes a session from a serialized ONNX model and a number of threads; 0 uses one per core."""


class OnnxSession:
    """A graph in ONNX Runtime, on the device that `artifacts.devices` chooses.

    On a GPU, batches are padded to a few sizes; see `artifacts.devices.padded_length`.

    Args:
        graph: a serialized ONNX model, or a file that `optimize` wrote. Sessions of one such file
            share its weights, within this process and with others.
        threads: within one call; 0 uses one per core.
        rests: the threads wait for work no longer than 20 us between two operators, and not at all
            after a call. By default they wait longer, which takes cores from other work.
        device: to run on; a file that `optimize` wrote runs on the CPU.

    Raises:
        ArtifactError: ONNX Runtime does not accept the graph, or would run it elsewhere than on the
            device that was asked for.
    """

    def __init__(
        self,
        graph: bytes | Path,
        threads: int = 0,
        *,
        rests: bool = False,
        device: Device | None = None,
    ) -> None:
        from artifacts.onnx_runtime import ort, ort_errors

        options = _options(threads)
        if rests:
            options.add_session_config_entry("session.force_spinning_stop", "1")
            options.add_session_config_entry("session.intra_op.spin_duration_us", "20")
            options.add_session_config_entry("session.dynamic_block_base", "4")
        if isinstance(graph, Path):
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
            options.add_session_config_entry("session.use_ort_model_bytes_for_initializers", "1")
        source = str(graph) if isinstance(graph, Path) else graph
        device = ON_CPU if isinstance(graph, Path) else device or current()
        if device.on_gpu:
            ort.preload_dlls()
        else:
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = open_session(source, options, device, ort.InferenceSession)
        except ort_errors as error:
            raise ArtifactError(f"ONNX Runtime refuses the graph: {error}") from None
        except (RuntimeError, ValueError) as error:  # of a provider whose library is missing
            raise ArtifactError(f"ONNX Runtime cannot run on {device.used}: {error}") from None
        self.output_names = tuple(str(o.name) for o in self._session.get_outputs())
        self.provider = str(self._session.get_providers()[0])
        """Execution provider: CUDAExecutionProvider, CPUExecutionProvider and the like."""
        self._pads = device.on_gpu

    def run(self, names: Sequence[str], images: npt.NDArray[np.uint8]) -> list[Rows]:
        """See `Session.run`."""
        rows: list[Rows] = self._session.run(names, {INPUT: pad(images) if self._pads else images})
        return [each[: len(images)] for each in rows] if self._pads else rows


def cpu_session(graph: bytes, threads: int = 0) -> Session:
    """Make a session on the CPU, also on a machine with a GPU; see `OnnxSession`.

    It computes in float32 as IEEE 754 defines it. On a GPU, the products of convolutions and
    matrices are computed in TF32, with 10 bits of mantissa, so that a comparison with a tolerance
    of a few float32 roundings has a meaning only here.
    """
    return OnnxSession(graph, threads, device=ON_CPU)


def on_provider(name: str) -> Engine:
    """Return an engine that makes sessions on an execution provider; see `OnnxSession`."""
    return partial(OnnxSession, device=named(name))


def optimize(graph: bytes, folder: Path) -> Path:
    """Write a graph, optimized for this machine's CPU, to a file that sessions can share.

    The file is in ONNX Runtime's own format, and holds for this machine and this version of ONNX
    Runtime only. It is written once for all processes that use the folder; those that need it at
    the same moment wait for the one that writes it.

    Args:
        graph: serialized ONNX model.
        folder: where the file is kept; its name is the hash of the graph.

    Raises:
        ArtifactError: ONNX Runtime does not accept the graph.
    """
    file = folder / f"{hashlib.sha256(graph).hexdigest()}.ort"
    if file.exists():
        return file
    # Without it, workers that start together would each write and map a file of their own, and the
    # weights would be in memory twice.
    with locked(folder):
        if not file.exists():
            _write_optimized(graph, file)
    return file


def _write_optimized(graph: bytes, file: Path) -> None:
    from artifacts.onnx_runtime import ort, ort_errors

    partial = file.with_suffix(".partial")
    options = _options(1)
    options.optimized_model_filepath = str(partial)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        open_session(graph, options, ON_CPU, ort.InferenceSession)
        partial.replace(file)
    except ort_errors as error:
        raise ArtifactError(f"ONNX Runtime refuses the graph: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


class OpenVinoSession:
    """A graph in OpenVINO on the CPU: in bfloat16 where the processor computes in it, else float32.

    Args:
        graph: serialized ONNX model.
        threads: within one call; 0 uses one per core.
        calls: number of calls that run at the same time; further calls wait.

    Raises:
        ArtifactError: OpenVINO does not accept the graph.
        VitrineError: OpenVINO is not installed.
    """

    def __init__(self, graph: bytes, threads: int = 0, calls: int = 1) -> None:
        check_openvino()
        import openvino

        core = openvino.Core()
        fast = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if fast else "f32"
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": (threads or cores()) * calls,
            "NUM_STREAMS": calls,
            # pinning would bind the threads of every process to the same cores
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": PREPARED_KERNELS,
        }
        try:
            self._net = core.compile_model(core.read_model(graph), "CPU", settings)
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO refuses the graph: {_last_line(error)}") from None
        outputs = onnx.load_model_from_string(graph).graph.output
        self.output_names = tuple(output.name for output in outputs)
        self.provider = f"OpenVINO {precision}"
        """Such as OpenVINO bf16."""
        self._idle: deque[Any] = deque()  # an infer request serves one call at a time

    def run(self, names: Sequence[str], images: npt.NDArray[np.uint8]) -> list[Rows]:
        """See `Session.run`."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._net.create_infer_request()
        try:
            found = request.infer({INPUT: images}, share_inputs=True)
            return [found[name] for name in names]
        finally:
            self._idle.append(request)


def _last_line(error: Exception) -> str:
    """The reason for the error; the lines before it name places in OpenVINO's source."""
    return str(error).strip().splitlines()[-1]


def _options(threads: int) -> Any:
    from artifacts.onnx_runtime import ort

    options = ort.SessionOptions()
    # 0 would bind the threads to cores of ONNX Runtime's choice, whatever the process may use.
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it would keep a memory plan for every shape seen
    options.log_severity_level = 4  # errors are raised, and need not be logged, too
    return options


def runs_on_gpu() -> bool:
    """Whether sessions of serialized models run on a GPU."""
    return current().on_gpu
