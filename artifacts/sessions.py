"""What runs a graph: ONNX Runtime, or OpenVINO where that is installed and asked for.

Both take uint8 pictures of any size and give the outputs that the graph names.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from artifacts.errors import ArtifactError, VitrineError
from artifacts.graph import INPUT
from artifacts.provenance import cores, has_gpu

Rows = npt.NDArray[np.float32]

ort_errors = (
    ort_state.Fail,
    ort_state.InvalidGraph,
    ort_state.InvalidArgument,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)

PREPARED_KERNELS = 1000
"""Kernels that OpenVINO keeps for sizes of pictures that come again. A process with
EfficientNet-Lite0 had 265 MB after 200 sizes, and 534 MB with the 5,000 that are the default."""

log = logging.getLogger("vitrine.runtime")


class Session(Protocol):
    """A graph that can be run, from several threads at once."""

    output_names: tuple[str, ...]
    provider: str
    """What runs it, as answers say it."""

    def run(self, names: Sequence[str], images: npt.NDArray[np.uint8]) -> list[Rows]:
        """The outputs called `names` for uint8 N x H x W x 3."""


Engine = Callable[[bytes, int], Session]
"""Makes a session of a serialized ONNX model and a number of threads; 0 is one per core."""


class OnnxSession:
    """A graph in ONNX Runtime, on the GPU if there is one.

    Args:
        graph: serialized ONNX model.
        threads: within one call; 0 takes one per core.
        rests: its threads look out for work within a call alone; by default for some time after
            it, too, which takes cores from others.

    Raises:
        ArtifactError: ONNX Runtime does not accept the graph.
    """

    def __init__(self, graph: bytes, threads: int = 0, *, rests: bool = False) -> None:
        options = ort.SessionOptions()
        # 0 would bind the threads to cores of ONNX Runtime's choice, whatever the process may use
        options.intra_op_num_threads = threads or cores()
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan of the memory is kept for every shape seen
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", str(int(rests)))
        try:
            self._session = ort.InferenceSession(graph, options, providers=_providers())
        except ort_errors as error:
            raise ArtifactError(f"ONNX Runtime refuses the graph: {error}") from None
        self.output_names = tuple(str(o.name) for o in self._session.get_outputs())
        self.provider = str(self._session.get_providers()[0])
        """Execution provider: CUDAExecutionProvider or CPUExecutionProvider."""

    def run(self, names: Sequence[str], images: npt.NDArray[np.uint8]) -> list[Rows]:
        """As `Session.run`."""
        rows: list[Rows] = self._session.run(names, {INPUT: images})
        return rows


class OpenVinoSession:
    """A graph in OpenVINO on the CPU: in bfloat16 where the processor computes in it, else float32.

    Args:
        graph: serialized ONNX model.
        threads: within one call; 0 takes one per core.
        calls: made at once; more of them wait for one another.

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
            # every process would bind its threads to the same cores, the first ones
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
        self._idle: deque[Any] = deque()  # a request serves one call at a time

    def run(self, names: Sequence[str], images: npt.NDArray[np.uint8]) -> list[Rows]:
        """As `Session.run`."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._net.create_infer_request()
        try:
            found = request.infer({INPUT: images}, share_inputs=True)
            return [found[name] for name in names]
        finally:
            self._idle.append(request)


def check_openvino() -> None:
    """Make sure that OpenVINO can be asked for.

    Raises:
        VitrineError: it is not installed.
    """
    if find_spec("openvino") is None:
        raise VitrineError(
            "OpenVINO is not installed: pip install -c constraints.txt -e '.[serve,openvino]'"
        )


def _last_line(error: Exception) -> str:
    """The reason; before it stand places in OpenVINO's source."""
    return str(error).strip().splitlines()[-1]


def _providers() -> list[str | tuple[str, dict[str, str]]]:
    """CUDA first where the machine has it, else the CPU, said once in the log."""
    if "CUDAExecutionProvider" in ort.get_available_providers() and has_gpu():
        ort.preload_dlls()
        # the default tries all convolutions anew for every shape, and doubles what it allocates
        changing = {
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        }
        return [("CUDAExecutionProvider", changing), "CPUExecutionProvider"]
    log.info("no NVIDIA GPU found: models run on the CPU")
    return ["CPUExecutionProvider"]
