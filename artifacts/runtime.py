"""Runs the graph of an artifact on pictures of any size.

This is the only path from pixels to outputs: evaluation after training, the server and the analyses
all use it, so they cannot disagree.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import numpy.typing as npt

from artifacts.artifact import Artifact
from artifacts.devices import GPU_PROVIDERS
from artifacts.errors import ArtifactError
from artifacts.input_policy import InputPolicy
from artifacts.manifest import Task
from artifacts.pictures import Picture
from artifacts.preprocessing import Prepared, prepare, prepare_and_tell
from artifacts.provenance import cores
from artifacts.sessions import Engine, OnnxSession, Session, optimize, runs_on_gpu

Outputs = dict[str, npt.NDArray[np.float32]]

# Two pictures of 2048 px fill a batch; it would take eight thousand of 32 px.
BATCH_PIXELS = 2 * 2048 * 2048
BATCH_PICTURES = 256
CPU_BATCH_BYTES = 128 * 1024
"""Bytes of pictures in a batch on a CPU: 42 of 32 px, or one of 224 px. A batch saves the overhead
of calls, which is large compared with small pictures. In larger batches the feature maps no longer
fit the caches, and the network gets slower."""
GPU_BATCH_BYTES = 64 * 1024 * 1024


class Runtime:
    """A graph's session together with its input policy.

    Args:
        graph: serialized ONNX model that keeps the contract of `artifacts.graph`.
        policy: how pictures become its input.
        threads: within one call; 0 uses one per core.
        name: of the model, for metrics.
        engine: makes the session that runs the graph.
        shared: folder for a copy of the graph that this and other processes can share. With it,
            and with ONNX Runtime on the CPU, the weights are in memory once for all of them, and
            `run_batch` can also spread a batch over all cores.

    Raises:
        ArtifactError: the engine does not accept the graph.
    """

    def __init__(
        self,
        graph: bytes,
        policy: InputPolicy,
        threads: int = 0,
        name: str = "unnamed",
        engine: Engine = OnnxSession,
        *,
        shared: Path | None = None,
    ) -> None:
        self.policy = policy
        self.name = name
        file = None
        if shared is not None and engine is OnnxSession and not runs_on_gpu():
            with suppress(ArtifactError):  # without space on the disk, nothing is shared
                file = optimize(graph, shared)
        self._session = engine(graph, threads) if file is None else OnnxSession(file, threads)
        self.output_names = self._session.output_names
        self.spreads = file is not None and 0 < threads < cores()
        """Whether `run_batch` can use all cores instead of `threads`."""
        self._file = file
        self._spread: OnnxSession | None = None
        self._opening = Lock()

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        threads: int = 0,
        engine: Engine = OnnxSession,
        *,
        shared: Path | None = None,
    ) -> Self:
        """Make the runtime of a verified artifact; for the arguments see the class.

        Raises:
            ArtifactError: the engine does not accept the graph, it was replaced meanwhile, or it is
                in float16 and the engine does not run it where it was compared with float32.
        """
        graph = artifact.read_graph()
        policy, float16 = artifact.manifest.input, artifact.manifest.float16
        runtime = cls(graph, policy, threads, artifact.name, engine, shared=shared)
        in_float16 = artifact.precision == "float16"
        if in_float16 and float16 is not None and not float16.served_on(runtime.provider):
            raise ArtifactError(
                f"the float16 graph of {artifact.name} is for {float16.agreement.provider}, and "
                f"would run on {runtime.provider}. VITRINE_DEVICE=cpu serves the model there."
            )
        return runtime

    @property
    def provider(self) -> str:
        """Such as CUDAExecutionProvider, CPUExecutionProvider or OpenVINO bf16."""
        return self._session.provider

    @property
    def batch_bytes(self) -> int:
        """Largest size of a batch in bytes of pictures, unless it holds a single one."""
        return GPU_BATCH_BYTES if self.provider in GPU_PROVIDERS else CPU_BATCH_BYTES

    def prepare(self, picture: Picture) -> Picture:
        """Prepare one picture as the input policy says; see `artifacts.preprocessing.prepare`."""
        return prepare(picture, self.policy)

    def prepare_and_tell(self, picture: Picture) -> Prepared:
        """Prepare one picture and say what was done; see `artifacts.preprocessing`."""
        return prepare_and_tell(picture, self.policy)

    def run_batch(
        self, images: Picture, names: Sequence[str] | None = None, *, spread: bool = False
    ) -> Outputs:
        """Run the graph on prepared pictures of one size.

        Args:
            images: uint8 N x H x W x 3. If the policy says that the graph takes one picture at a
                time, they are run one by one.
            names: of the outputs wanted; all by default.
            spread: use all cores, where the runtime `spreads`.

        Returns:
            Output arrays by name, the first axis N. Those of float16 are converted to float32.
        """
        wanted = list(names or self.output_names)
        session = self._all_cores() if spread and self.spreads else self._session
        if self.policy.batch == "any" or len(images) == 1:
            outputs = session.run(wanted, images)
        else:
            rows = [session.run(wanted, picture[None]) for picture in images]
            outputs = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        return dict(zip(wanted, map(_not_half, outputs), strict=True))

    def _all_cores(self) -> Session:
        """The session with all cores, opened when the first batch needs it."""
        with self._opening:
            if self._spread is None and self._file is not None:
                self._spread = OnnxSession(self._file, rests=True)
        return self._spread or self._session

    def run(
        self,
        pictures: Sequence[Picture] | Picture,
        names: Sequence[str] | None = None,
        *,
        prepared: bool = False,
    ) -> Outputs:
        """Run the graph on pictures of any mix of sizes; rows keep the order of `pictures`.

        Pictures of one prepared size share batches, so the answer to each equals the answer it
        gets alone (to rounding).

        Args:
            pictures: uint8 H x W x 3 each.
            names: of the outputs wanted; all by default.
            prepared: whether they were prepared before. Preparing them again would crop them again.

        Returns:
            Output arrays by name, the first axis N.
        """
        wanted = tuple(names or self.output_names)
        rows: dict[str, list[npt.NDArray[np.float32]]] = {
            name: [np.empty(0, np.float32)] * len(pictures) for name in wanted
        }
        for indices, batch in self._batches(pictures, prepared=prepared):
            outputs = self.run_batch(batch, wanted)
            for name in wanted:
                for index, row in zip(indices, outputs[name], strict=True):
                    rows[name][index] = row
        return {name: np.stack(values) for name, values in rows.items()}

    def _batches(
        self, pictures: Sequence[Picture] | Picture, *, prepared: bool = False
    ) -> Iterator[tuple[list[int], Picture]]:
        """Yield (indices, N x H x W x 3), each batch of one size.

        BATCH_PIXELS bounds the pictures that wait for their batch to fill.
        """
        waiting: dict[tuple[int, ...], list[tuple[int, Picture]]] = {}
        held = 0
        for index, picture in enumerate(pictures):
            shown = picture if prepared else self.prepare(picture)
            pixels = shown.shape[0] * shown.shape[1]
            if held + pixels > BATCH_PIXELS:
                yield from map(_stack, waiting.values())
                waiting, held = {}, 0
            group = waiting.setdefault(shown.shape, [])
            group.append((index, shown))
            held += pixels
            if len(group) >= min(BATCH_PICTURES, self.batch_bytes // shown.nbytes):
                held -= pixels * len(group)
                yield _stack(waiting.pop(shown.shape))
        yield from map(_stack, waiting.values())


def in_chunks(pictures: Sequence[Picture] | Picture, size: int = 2048) -> Iterator[list[Picture]]:
    """Yield pictures, `size` at a time, so that no more files are decoded at the same time."""
    for start in range(0, len(pictures), size):
        yield [pictures[i] for i in range(start, min(start + size, len(pictures)))]


def probabilities(
    logits: npt.NDArray[np.floating], temperature: float, task: Task = "classification"
) -> npt.NDArray[np.float64]:
    """Return the probabilities of the classes, computed in float64 from logits / temperature.

    Args:
        logits: N x C.
        temperature: positive; above 1 softens (Guo et al. 2017, arXiv 1706.04599).
        task: classification takes the softmax over the last axis, multi-label the sigmoid of each
            logit.

    Returns:
        N x C. Rows sum to 1, except those of multi-label models, whose classes are independent.
    """
    scaled = logits.astype(np.float64) / temperature
    if task == "multi-label":
        # the exponent is never positive, so that it cannot overflow
        small = np.exp(-np.abs(scaled))
        sigmoid: npt.NDArray[np.float64] = np.where(scaled >= 0, 1.0, small) / (1.0 + small)
        return sigmoid
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def _not_half(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return rows.astype(np.float32) if rows.dtype == np.float16 else rows


def _stack(group: list[tuple[int, Picture]]) -> tuple[list[int], Picture]:
    return [index for index, _ in group], np.stack([picture for _, picture in group])
