"""Chooses the output of a foreign graph that an artifact serves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from artifacts.errors import ArtifactError
from artifacts.imports.edits import producer
from artifacts.imports.endings import SHAPE_OPERATORS, find_ending
from artifacts.manifest import Task
from artifacts.sessions import Rows


@dataclass(frozen=True)
class Output:
    """An output of a graph, and what it answered to several pictures."""

    name: str
    """Name in the original graph."""
    tensor: str
    answers: Rows | None
    """The first axis is the pictures; None if they had different shapes."""

    @property
    def values(self) -> Rows:
        """The answers, as the graph gives them."""
        if self.answers is None:
            raise ArtifactError(
                f"output {self.name!r} has a shape that depends on the picture; N x C or N x D is "
                "expected."
            )
        return self.answers

    @property
    def width(self) -> int:
        """Number of values for each picture; 0 if they are no numbers, or have several axes."""
        if self.answers is None or self.answers.dtype.kind != "f" or self.answers.ndim < 2:  # noqa: PLR2004
            return 0
        count = int(np.prod(self.answers.shape[1:]))
        return count if count in self.answers.shape[1:] else 0

    @property
    def rows(self) -> npt.NDArray[np.float64]:
        """The answers as float64 N x C."""
        return self.values.astype(np.float64).reshape(len(self.values), -1)

    def __str__(self) -> str:
        if self.answers is None:
            return f"{self.name!r}"
        shape = " x ".join(["N", *map(str, self.answers.shape[1:])])
        return f"{self.name!r} ({shape}, {self.answers.dtype})"


def choose(
    graph: onnx.GraphProto,
    outputs: Sequence[Output],
    task: Task,
    classes: int | None,
    wanted: str | None,
) -> Output:
    """Return the output that has one value for each class, or the embedding.

    Of several outputs, one is chosen only if no other could be meant. Logits and their softmax
    count as one.

    Args:
        graph: the graph that they are outputs of.
        outputs: all outputs.
        task: what the output is for.
        classes: number of classes; None for embeddings.
        wanted: original name of the output to take.

    Raises:
        ArtifactError: there is no output called `wanted`, or none fits, or more than one does.
    """
    if not outputs:
        raise ArtifactError(
            "the model has no output; export it with the logits or the embedding as its output."
        )
    listed = ", ".join(map(str, outputs))
    if wanted is not None:
        named = [output for output in outputs if output.name == wanted]
        if not named:
            raise ArtifactError(f"the model has no output {wanted!r}; it has {listed}.")
        return _checked(named[0], task, classes)
    if len(outputs) == 1:
        return _checked(outputs[0], task, classes)
    fitting = [output for output in outputs if output.width and classes in (None, output.width)]
    if not fitting and classes == 2 and task == "classification":  # noqa: PLR2004
        fitting = [output for output in outputs if output.width == 1]
    origins = {_origin(graph, output.tensor) for output in fitting}
    if len(origins) == 1:
        plain = [output for output in fitting if find_ending(graph, output.tensor) is None]
        return (plain or fitting)[0]
    what = "the embedding" if classes is None else f"a value for each of {classes} classes"
    reason = "several of its outputs could be" if fitting else "none of its outputs is"
    raise ArtifactError(f"{reason} {what}: {listed}. Give the one to serve with --output NAME.")


def _checked(output: Output, task: Task, classes: int | None) -> Output:
    if not output.width:
        shape = (1, *output.values.shape[1:])
        kind = "" if output.values.dtype.kind == "f" else f" of {output.values.dtype}"
        raise ArtifactError(f"the output has shape {shape}{kind}; N x C or N x D is expected.")
    pair = classes == 2 and output.width == 1 and task == "classification"  # noqa: PLR2004
    if classes not in (None, output.width) and not pair:
        raise ArtifactError(
            f"the model gives {output.width} logits, but --classes has {classes} names; give one "
            "name for each logit."
        )
    return output


def _origin(graph: onnx.GraphProto, tensor: str) -> str:
    """Return the tensor of logits that an output comes from, or the first of equal values."""
    ending = find_ending(graph, tensor)
    if ending is not None:
        tensor = ending.logits
    while (node := producer(graph, tensor)) is not None and node.op_type in SHAPE_OPERATORS:
        tensor = node.input[0]
    return tensor
