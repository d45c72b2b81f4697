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
from PIL import Image, ImageFilter

from artifacts import ArtifactError, Runtime
from artifacts.contributions import Grid, shrink
from artifacts.graph import OUTPUTS
from artifacts.manifest import Task
from artifacts.pictures import Picture
from serving.inference.served_model import ServedModel
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
BLUR = 1 / 8
"""Standard deviation of the blur that hides a part, in shorter sides of the picture."""

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

    The mean of the result plus the bias is the logit, made `comparable`.

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
        classes = len(model.manifest.classes)
        self._task = model.manifest.task
        weights = np.eye(classes) if head.weights is None else head.weights
        bias = np.zeros(1) if head.bias is None else head.bias
        self._weights = comparable(weights.T, self._task).T  # (K, C)
        self._bias = comparable(np.broadcast_to(bias, classes), self._task)  # (K)
        # A session of its own: ONNX Runtime cannot fuse away a tensor that is an output.
        self.runtime = Runtime(
            graph.SerializeToString(),
            model.manifest.input,
            model.threads,
            model.name,
            shared=model.shared,
        )
        self._check()

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
        ordered = np.moveaxis(maps, -1, 0) if self._head.channels_last else maps  # (C, h, w)
        return np.tensordot(self._weights[number], ordered, 1), float(self._bias[number])

    def _check(self) -> None:
        """Compare the logits with the means of the maps, for generated pictures."""
        random = np.random.default_rng(0)
        least, most = self.runtime.policy.accepted_side
        for height, width in CHECKED_SIZES:
            size = (min(max(height, least), most), min(max(width, least), most), 3)
            rows = self.runtime.run([random.integers(0, 256, size, np.uint8)], self.names)
            logits, maps = comparable(rows[LOGITS][0], self._task), rows[self._head.maps][0]
            if maps.ndim != 3:  # noqa: PLR2004
                raise ArtifactError("what it pools are not maps.")
            found = [self._contributions(maps, number) for number in range(len(logits))]
            sums = np.array([grid.mean() + bias for grid, bias in found])
            if not np.abs(sums - logits).max() <= TOLERANCE * max(1.0, np.abs(logits).max()):
                raise ArtifactError("its logits are not a weighted sum of the means of its maps.")


class Occlusion:
    """How much the logit, made `comparable`, falls when a part of the picture is hidden.

    The picture is divided into `CELLS` x `CELLS` cells. For each one, a window around its centre,
    twice as wide and high as the cell, is blurred beyond recognition. Filling it with the mean
    colour, grey or black instead gave worse maps: on training pictures of digits and of CIFAR-10,
    they predicted less well what the probability falls by.

    Args:
        model: any classifier or multi-label model.
    """

    method: Method = "occlusion"
    names: Sequence[str] = (LOGITS,)

    def __init__(self, model: ServedModel) -> None:
        self.runtime = model.runtime
        self._task = model.manifest.task

    def passes(self, width: int, height: int) -> int:
        """See `Explainer.passes`."""
        return 1 + min(CELLS, width) * min(CELLS, height)

    def views(self, prepared: Picture) -> list[Picture]:
        """See `Explainer.views`."""
        height, width = prepared.shape[:2]
        radius = BLUR * min(height, width)
        image = Image.fromarray(prepared).filter(ImageFilter.GaussianBlur(radius))
        blurred = np.asarray(image)
        views = [prepared]
        for top, bottom in _windows(height):
            for left, right in _windows(width):
                hidden = prepared.copy()
                hidden[top:bottom, left:right] = blurred[top:bottom, left:right]
                views.append(hidden)
        return views

    def read(self, rows: Rows, number: int, prepared: Picture) -> tuple[Grid, float | None]:
        """See `Explainer.read`; there is no bias, because the drops are not parts of a sum."""
        logits = comparable(rows[LOGITS], self._task)[:, number]
        shape = [min(CELLS, side) for side in prepared.shape[:2]]
        return (logits[0] - logits[1:]).reshape(shape), None


def comparable(logits: npt.NDArray[np.floating], task: Task) -> npt.NDArray[np.float64]:
    """Return logits whose sign says whether a class is likelier than the others.

    The softmax of a classifier does not depend on what all logits have in common: all of them may
    be negative. Their mean over the classes is therefore subtracted. The logits of a multi-label
    model stand alone, and stay as they are.

    Args:
        logits: ... x K.
        task: of the model.
    """
    values = logits.astype(np.float64)
    return values - values.mean(axis=-1, keepdims=True) if task == "classification" else values


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
