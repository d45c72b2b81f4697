"""Runs an artifact's graph with ONNX Runtime, on pictures of any size.

The one path from pixels to outputs: evaluation after training, the server and the analyses all
go through it, so they cannot disagree.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from PIL import Image

from artifacts.artifact import Artifact
from artifacts.errors import ArtifactError
from artifacts.graph import INPUT
from artifacts.manifest import InputPolicy
from artifacts.provenance import cores, has_gpu

Picture = npt.NDArray[np.uint8]
"""H x W x 3, RGB."""
Outputs = dict[str, npt.NDArray[np.float32]]

# Two pictures of 2048 px fill a batch; of 32 px, eight thousand would.
BATCH_PIXELS = 2 * 2048 * 2048
BATCH_PICTURES = 256

ort_errors = (
    ort_state.Fail,
    ort_state.InvalidGraph,
    ort_state.InvalidArgument,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)

log = logging.getLogger("vitrine.runtime")


class Runtime:
    """A graph's session together with its input policy.

    Args:
        graph: serialized ONNX model that keeps the contract of `artifacts.graph`.
        policy: how pictures become its input.
        threads: ONNX Runtime threads within one call; 0 takes one per core.
        name: of the model, for those who count.

    Raises:
        ArtifactError: ONNX Runtime does not accept the graph.
    """

    def __init__(
        self, graph: bytes, policy: InputPolicy, threads: int = 0, name: str = "unnamed"
    ) -> None:
        options = ort.SessionOptions()
        # 0 would bind the threads to cores of ONNX Runtime's choice, whatever the process may use
        options.intra_op_num_threads = threads or cores()
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan of the memory is kept for every shape seen
        options.log_severity_level = 3
        self.policy = policy
        self.name = name
        try:
            self._session = ort.InferenceSession(graph, options, providers=_providers())
        except ort_errors as error:
            raise ArtifactError(f"ONNX Runtime refuses the graph: {error}") from None
        self.output_names: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    @classmethod
    def open(cls, artifact: Artifact, threads: int = 0) -> Self:
        """The runtime of a verified artifact."""
        manifest = artifact.manifest
        return cls(artifact.model_path.read_bytes(), manifest.input, threads, artifact.name)

    @property
    def provider(self) -> str:
        """Execution provider that runs the graph: CUDAExecutionProvider or CPUExecutionProvider."""
        return str(self._session.get_providers()[0])

    def prepare(self, picture: Picture) -> Picture:
        """Resize one picture as the input policy says (bicubic); most pass through unchanged."""
        height, width = picture.shape[:2]
        target = self.policy.target(width, height)
        if target == (width, height):
            return picture
        image = Image.fromarray(picture).resize(target, Image.Resampling.BICUBIC)
        return np.asarray(image)  # (target h, target w, 3)

    def run_batch(self, images: Picture, names: Sequence[str] | None = None) -> Outputs:
        """Run the graph on prepared pictures of one size.

        Args:
            images: uint8 N x H x W x 3.
            names: outputs wanted; all by default.

        Returns:
            Output arrays by name, the first axis N.
        """
        wanted = list(names or self.output_names)
        return dict(zip(wanted, self._session.run(wanted, {INPUT: images}), strict=True))

    def run(self, pictures: Sequence[Picture], names: Sequence[str] | None = None) -> Outputs:
        """Run the graph on pictures of any mix of sizes; rows keep the order of `pictures`.

        Pictures of one prepared size share batches, so the answer to each equals the answer it
        gets alone (to rounding).
        """
        wanted = tuple(names or self.output_names)
        rows: dict[str, list[npt.NDArray[np.float32]]] = {
            name: [np.empty(0, np.float32)] * len(pictures) for name in wanted
        }
        for indices, batch in self._batches(pictures):
            outputs = self.run_batch(batch, wanted)
            for name in wanted:
                for index, row in zip(indices, outputs[name], strict=True):
                    rows[name][index] = row
        return {name: np.stack(values) for name, values in rows.items()}

    def _batches(self, pictures: Sequence[Picture]) -> Iterator[tuple[list[int], Picture]]:
        """Yield (indices, N x H x W x 3) of one size each; BATCH_PIXELS bounds what waits, too."""
        waiting: dict[tuple[int, ...], list[tuple[int, Picture]]] = {}
        held = 0
        for index, picture in enumerate(pictures):
            prepared = self.prepare(picture)
            pixels = prepared.shape[0] * prepared.shape[1]
            if held + pixels > BATCH_PIXELS:
                yield from map(_stack, waiting.values())
                waiting, held = {}, 0
            group = waiting.setdefault(prepared.shape, [])
            group.append((index, prepared))
            held += pixels
            if len(group) == BATCH_PICTURES:
                yield _stack(waiting.pop(prepared.shape))
                held -= pixels * BATCH_PICTURES
        yield from map(_stack, waiting.values())


def in_chunks(pictures: Sequence[Picture] | Picture, size: int = 2048) -> Iterator[list[Picture]]:
    """Pictures, `size` at a time: of files on disk, no more than these are decoded at once."""
    for start in range(0, len(pictures), size):
        yield [pictures[i] for i in range(start, min(start + size, len(pictures)))]


def probabilities(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    """Softmax of logits / temperature over the last axis, in float64.

    Args:
        logits: N x C.
        temperature: positive; above 1 softens (Guo et al. 2017, arXiv 1706.04599).

    Returns:
        N x C, rows summing to 1.
    """
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def _stack(group: list[tuple[int, Picture]]) -> tuple[list[int], Picture]:
    return [index for index, _ in group], np.stack([picture for _, picture in group])


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
