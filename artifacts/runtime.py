"""Runs an artifact's graph on pictures of any size.

The one path from pixels to outputs: evaluation after training, the server and the analyses all
go through it, so they cannot disagree.
"""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts.artifact import Artifact
from artifacts.manifest import InputPolicy
from artifacts.provenance import cores
from artifacts.sessions import Engine, OnnxSession

Picture = npt.NDArray[np.uint8]
"""H x W x 3, RGB."""
Outputs = dict[str, npt.NDArray[np.float32]]

# Two pictures of 2048 px fill a batch; of 32 px, eight thousand would.
BATCH_PIXELS = 2 * 2048 * 2048
BATCH_PICTURES = 256


class Runtime:
    """A graph's session together with its input policy.

    Args:
        graph: serialized ONNX model that keeps the contract of `artifacts.graph`.
        policy: how pictures become its input.
        threads: within one call; 0 takes one per core.
        name: of the model, for those who count.
        engine: what runs the graph.
        spreads: ONNX Runtime on the CPU can also run a batch on all cores, for those who have the
            machine to themselves; this takes some memory.

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
        spreads: bool = False,
    ) -> None:
        self.policy = policy
        self.name = name
        self._session = engine(graph, threads)
        self.output_names = self._session.output_names
        self.spreads = spreads and self.provider == "CPUExecutionProvider" and 0 < threads < cores()
        """Whether `run_batch` can take all cores where it takes but `threads` otherwise."""
        self._spread = OnnxSession(graph, rests=True) if self.spreads else self._session

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        threads: int = 0,
        engine: Engine = OnnxSession,
        *,
        spreads: bool = False,
    ) -> Self:
        """The runtime of a verified artifact; arguments as above.

        Raises:
            ArtifactError: the engine does not accept the graph, or it was replaced meanwhile.
        """
        graph = artifact.read_graph()
        policy = artifact.manifest.input
        return cls(graph, policy, threads, artifact.name, engine, spreads=spreads)

    @property
    def provider(self) -> str:
        """What runs it: CUDAExecutionProvider, CPUExecutionProvider, OpenVINO bf16 or f32."""
        return self._session.provider

    def prepare(self, picture: Picture) -> Picture:
        """Resize one picture as the input policy says (bicubic); most pass through unchanged."""
        height, width = picture.shape[:2]
        target = self.policy.target(width, height)
        if target == (width, height):
            return picture
        image = Image.fromarray(picture).resize(target, Image.Resampling.BICUBIC)
        return np.asarray(image)  # (target h, target w, 3)

    def run_batch(
        self, images: Picture, names: Sequence[str] | None = None, *, spread: bool = False
    ) -> Outputs:
        """Run the graph on prepared pictures of one size.

        Args:
            images: uint8 N x H x W x 3.
            names: outputs wanted; all by default.
            spread: over all cores, where the runtime `spreads`.

        Returns:
            Output arrays by name, the first axis N.
        """
        wanted = list(names or self.output_names)
        session = self._spread if spread else self._session
        return dict(zip(wanted, session.run(wanted, images), strict=True))

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
