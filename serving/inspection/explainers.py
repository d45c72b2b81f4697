"""Two ways to find out which parts of a picture speak for a class.

The class-activation map (Zhou et al. 2016, arXiv 1512.04150) reads it from the graph, exactly and
in one pass. It exists for networks that end in global average pooling and one linear layer. For all
others, parts of the picture are hidden in turn (Zeiler and Fergus 2014, arXiv 1311.2901).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx.inliner import inline_local_functions

from artifacts import ArtifactError, Runtime
from artifacts.contributions import Grid, shrink
from artifacts.graph import OUTPUTS
from artifacts.pictures import Picture
from serving.inference.models import ServedModel
from serving.inspection.head import Head, find_head

LOGITS = OUTPUTS["classification"]
MAX_CELLS = 64
"""Maximum number of rows and of columns of a map; finer ones are averaged over areas."""
TOLERANCE = 1e-4
"""Largest accepted difference between a logit and the sum that the class-activation map explains it
by, relative to the largest logit (or to 1, if that is larger)."""
CHECKED_SIZES = ((64, 64), (64, 96), (80, 48))
"""Height and width of the pictures on which that is checked."""
CELLS = 8
"""Rows and columns of a map by occlusion."""

Method = Literal["class-activation-map", "occlusion"]
Rows = Mapping[str, npt.NDArray[np.float32]]

log = logging.getLogger("bentoml.vitrine")


class Explainer(Protocol):
    """Computes maps of contributions for one model."""

    method: Method
    runtime: Runtime
    names: Sequence[str]
    """Outputs of the runtime that `read` needs."""

    def passes(self, width: int, height: int) -> int:
        """Number of pictures that are run for one prepared picture of this size."""

    def views(self, prepared: Picture) -> list[Picture]:
        """The pictures to run for a prepared one; the first is that picture."""

    def read(self, rows: Rows, number: int, prepared: Picture) -> tuple[Grid, float | None]:
        """The map of a class from the outputs for all views, and the bias of its logit.

        Args:
            rows: the outputs `names`, a row for each view.
            number: index of the class.
            prepared: the picture that the views are of.
        """


class ClassActivationMap:
    """The maps that the network averages, weighted as its classifier weights their means.

    The mean of the result plus the bias is the logit.

    Args:
        model: whose graph is explained.
        graph: of the model, without local functions; it gets one more output.
        head: of the graph.

    Raises:
        ArtifactError: the graph with one more output cannot be run, or its logits are not what the
            head computes.
    """

    method: Method = "class-activation-map"

    def __init__(self, model: ServedModel, graph: onnx.ModelProto, head: Head) -> None:
        self.names: Sequence[str] = (LOGITS, head.maps)
        if head.maps not in {output.name for output in graph.graph.output}:
            graph.graph.output.append(onnx.ValueInfoProto(name=head.maps))
        self._head = head
        # A session of its own: ONNX Runtime cannot fuse away a tensor that is an output.
        self.runtime = Runtime(
            graph.SerializeToString(),
            model.manifest.input,
            model.threads,
            model.name,
            shared=model.shared,
        )
        self._check(len(model.manifest.classes))

    def passes(self, width: int, height: int) -> int:  # noqa: ARG002
        """See `Explainer.passes`."""
        return 1

    def views(self, prepared: Picture) -> list[Picture]:
        """See `Explainer.views`."""
        return [prepared]

    def read(self, rows: Rows, number: int, prepared: Picture) -> tuple[Grid, float | None]:  # noqa: ARG002
        """See `Explainer.read`."""
        grid, bias = self._contributions(rows[self._head.maps][0], number)
        return shrink(grid, MAX_CELLS), bias

    def _contributions(self, maps: npt.NDArray[np.float32], number: int) -> tuple[Grid, float]:
        head = self._head
        ordered = np.moveaxis(maps, -1, 0) if head.channels_last else maps  # (C, h, w)
        bias = 0.0 if head.bias is None else float(head.bias[number % len(head.bias)])
        if head.weights is None:
            return ordered[number].astype(np.float64), bias
        return np.tensordot(head.weights[number], ordered, 1), bias

    def _check(self, classes: int) -> None:
        """Compare the logits with the means of the maps, for generated pictures."""
        random = np.random.default_rng(0)
        least, most = self.runtime.policy.accepted_side
        for height, width in CHECKED_SIZES:
            size = (min(max(height, least), most), min(max(width, least), most), 3)
            rows = self.runtime.run([random.integers(0, 256, size, np.uint8)], self.names)
            logits, maps = rows[LOGITS][0], rows[self._head.maps][0]
            if maps.ndim != 3:  # noqa: PLR2004
                raise ArtifactError("what it pools are not maps.")
            found = [self._contributions(maps, number) for number in range(classes)]
            sums = np.array([grid.mean() + bias for grid, bias in found])
            if not np.abs(sums - logits).max() <= TOLERANCE * max(1.0, np.abs(logits).max()):
                raise ArtifactError("its logits are not a weighted sum of the means of its maps.")


class Occlusion:
    """How much the logit falls when a part of the picture is hidden.

    The picture is divided into `CELLS` x `CELLS` cells. For each one, a window around its centre,
    twice as wide and high as the cell, is filled with the mean colour of the picture.

    Args:
        model: any classifier or multi-label model.
    """

    method: Method = "occlusion"
    names: Sequence[str] = (LOGITS,)

    def __init__(self, model: ServedModel) -> None:
        self.runtime = model.runtime

    def passes(self, width: int, height: int) -> int:
        """See `Explainer.passes`."""
        return 1 + min(CELLS, width) * min(CELLS, height)

    def views(self, prepared: Picture) -> list[Picture]:
        """See `Explainer.views`."""
        height, width = prepared.shape[:2]
        colour = np.rint(prepared.mean(axis=(0, 1))).astype(np.uint8)
        views = [prepared]
        for top, bottom in _windows(height):
            for left, right in _windows(width):
                hidden = prepared.copy()
                hidden[top:bottom, left:right] = colour
                views.append(hidden)
        return views

    def read(self, rows: Rows, number: int, prepared: Picture) -> tuple[Grid, float | None]:
        """See `Explainer.read`; there is no bias, because the drops are not parts of a sum."""
        logits = rows[LOGITS][:, number].astype(np.float64)
        shape = [min(CELLS, side) for side in prepared.shape[:2]]
        return (logits[0] - logits[1:]).reshape(shape), None


def open_explainer(model: ServedModel) -> Explainer:
    """Return the class-activation map of a model if it has one, otherwise occlusion.

    Raises:
        ArtifactError: the graph's file has changed since it was verified.
    """
    graph = inline_local_functions(onnx.load_model_from_string(model.artifact.read_graph()))
    head = find_head(graph)
    if head is not None:
        try:
            return ClassActivationMap(model, graph, head)
        except ArtifactError as error:
            log.info("model %s is explained by occlusion: %s", model.name, error)
    return Occlusion(model)


def _windows(side: int) -> list[tuple[int, int]]:
    """Return the first and last (exclusive) pixel of the window of each cell of a side."""
    cells = min(CELLS, side)
    size = side / cells
    return [
        (max(0, round((cell - 0.5) * size)), min(side, round((cell + 1.5) * size)))
        for cell in range(cells)
    ]
