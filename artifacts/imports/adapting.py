"""Gives a foreign graph the input and the outputs of the contract in `artifacts.graph`."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from artifacts.errors import ArtifactError
from artifacts.graph import INPUT, OUTPUTS
from artifacts.imports import endings
from artifacts.imports.edits import append, fresh, prune, rename, tidy
from artifacts.imports.inputs import ForeignInput, put_front
from artifacts.imports.outputs import Output, choose
from artifacts.imports.probing import ask
from artifacts.input_policy import Normalisation
from artifacts.manifest import Task
from artifacts.runtime import probabilities

Activation = Literal["auto", "none", "softmax", "sigmoid"]


@dataclass(frozen=True)
class Adapted:
    """A graph that fulfils the contract."""

    model: onnx.ModelProto
    width: int
    """Number of logits, or dimension of the embedding."""
    notes: tuple[str, ...]
    """What was changed that changes the meaning of numbers, as sentences for the user."""


def prepare_graph(model: onnx.ModelProto) -> list[str]:
    """Free the names of the contract, and remove what exporters add; see `edits.tidy`.

    Args:
        model: changed in place.

    Returns:
        Names that the outputs had before, in the order of the outputs.
    """
    names = [output.name for output in model.graph.output]
    tidy(model)
    for name in {INPUT, "features", *OUTPUTS.values()}:
        rename(model.graph, name, fresh(model.graph, f"foreign_{name}"))
    return names


def adapt(
    model: onnx.ModelProto,
    names: list[str],
    foreign: ForeignInput,
    normalisation: Normalisation,
    task: Task,
    *,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
    output: str | None = None,
    activation: Activation = "auto",
) -> Adapted:
    """Give a graph the input and the outputs of the contract.

    Args:
        model: prepared by `prepare_graph`; changed in place.
        names: as `prepare_graph` returned them.
        foreign: its input.
        normalisation: what its input expects.
        task: a key of `OUTPUTS`.
        classes: number of classes; None for embeddings.
        size: (height, width) that every picture has; None if they differ.
        output: original name of the output to serve; None if the choice is clear.
        activation: what the output is: logits (none), or the probabilities of a softmax or of
            sigmoids. auto finds out from nodes and values.

    Raises:
        ArtifactError: the graph fails, has no output that fits, or gives probabilities that the
            task does not have.
    """
    put_front(model.graph, foreign, normalisation, size)
    tensors = [value.name for value in model.graph.output]
    answers = ask(model, size, tensors)
    outputs = [
        Output(name, tensor, answers.get(tensor))
        for name, tensor in zip(names, tensors, strict=True)
    ]
    chosen = choose(model.graph, outputs, task, classes, output)
    if not np.isfinite(chosen.rows).all():
        raise ArtifactError(
            "the output of the model contains NaN or infinity for pictures of one colour or of "
            "noise; check the weights, and the normalisation."
        )
    head = _Head(model, chosen, size, [])
    pair = task == "classification" and chosen.width == 1 and classes == 2  # noqa: PLR2004
    if task == "embedding":
        tensor = head.rows()
    elif task == "multi-label":
        tensor = head.labels(activation)
    elif pair:
        tensor = head.pair(activation)
    else:
        tensor = head.classes(activation)
    width = 2 if pair else chosen.width
    _finish(model, tensor, task, width, size)
    return Adapted(model, width, tuple(head.notes))


@dataclass
class _Head:
    """The end of a graph, whose output becomes logits. Each method returns their tensor."""

    model: onnx.ModelProto
    output: Output
    size: tuple[int, int] | None
    notes: list[str]

    def classes(self, activation: Activation) -> str:
        """Logits of classes of which each picture has one."""
        kind = self._kind(activation)
        if kind == "sigmoid":
            raise ArtifactError(
                f"the values of output {self.output.name!r} are each between 0 and 1 and do not "
                "sum to 1, as those of sigmoids; they are no answer of a model that chooses one "
                "class. Give --task multi-label if a picture can have several classes, or "
                "--activation none if they are logits."
            )
        tensor = self.rows()
        if kind == "logits":
            return tensor
        known = self._values(tensor)
        expected = np.exp(known) if kind == "log_softmax" else known
        return self._taken_off("softmax", expected) or self._log_of(tensor, kind)

    def labels(self, activation: Activation) -> str:
        """Logits of labels of which each picture can have any number."""
        kind = self._kind(activation)
        if kind in {"softmax", "log_softmax"}:
            raise ArtifactError(
                f"the values of output {self.output.name!r} are probabilities that sum to 1, so "
                "the model chooses one class for each picture; give --task classification."
            )
        tensor = self.rows()
        return tensor if kind == "logits" else self._odds(tensor)

    def pair(self, activation: Activation) -> str:
        """Logits of two classes, from one output about the second."""
        kind = self._kind(activation)
        tensor = self.rows()
        if kind == "sigmoid":
            tensor = self._odds(tensor)
        elif activation != "none":
            raise ArtifactError(
                f"output {self.output.name!r} is one number for two classes, and no "
                "probability; give --activation none if it is the logit of the second class."
            )
        self.notes.append("The one output is about the second class; the first gets the rest.")
        return endings.put_pair(self.model.graph, tensor)

    def _kind(self, activation: Activation) -> endings.Kind:
        values = self.output.rows
        if activation == "none":
            return "logits"
        kind = endings.kind_of(values)
        if activation == "sigmoid" and endings.are_shares(values):
            return "sigmoid"
        if activation not in {"auto", kind.removeprefix("log_")}:
            raise ArtifactError(
                f"--activation {activation}: the values of output {self.output.name!r} are none of "
                f"a {activation}; they are between {values.min():.3g} and {values.max():.3g}."
            )
        return kind

    def _odds(self, tensor: str) -> str:
        taken = self._taken_off("sigmoid", self._values(tensor))
        if taken is not None:
            return taken
        self.notes.append(
            "No sigmoid was found in the graph, but the values are between 0 and 1; their "
            "log(p / (1 - p)) is served as logits, the sigmoid of which gives the same "
            "probabilities."
        )
        return endings.put_log_odds(self.model.graph, tensor)

    def _log_of(self, tensor: str, kind: endings.Kind) -> str:
        if kind == "log_softmax":  # its softmax is p already
            return tensor
        self.notes.append(
            "No softmax that could be taken off was found in the graph, but the values are "
            "probabilities; their logarithm is served as logits, the softmax of which gives the "
            "same probabilities."
        )
        return endings.put_logarithm(self.model.graph, tensor)

    def rows(self, tensor: str | None = None) -> str:
        """The output itself, or a tensor like it, as float32 N x C."""
        values = self.output.values
        return endings.put_rows(
            self.model.graph,
            tensor or self.output.tensor,
            values.ndim,
            helper.np_dtype_to_tensor_dtype(values.dtype),
        )

    def _values(self, tensor: str) -> endings.Values:
        return ask(self.model, self.size, [tensor])[tensor].astype(np.float64)

    def _taken_off(self, kind: str, expected: endings.Values) -> str | None:
        """Remove the ending that the nodes show, if the same probabilities follow from the rest."""
        ending = endings.find_ending(self.model.graph, self.output.tensor)
        if ending is None or ending.kind != kind:
            return None
        tensor = self.rows(endings.take_off(self.model.graph, ending))
        logits = self._values(tensor)
        if logits.shape != expected.shape:
            return None
        half = self.output.values.dtype == np.float16
        found = probabilities(logits, 1.0, "classification" if kind == "softmax" else "multi-label")
        close = np.allclose(
            found, expected, rtol=2e-2 if half else 1e-3, atol=1e-3 if half else 1e-6
        )
        return tensor if close else None


def _finish(
    model: onnx.ModelProto, tensor: str, task: Task, width: int, size: tuple[int, int] | None
) -> None:
    """Make a tensor the output of the task, and what goes into the last linear layer `features`.

    A graph that answers in float16 keeps that type, and has no `features`: a conversion at its end
    or a second output changes where ONNX Runtime rounds, which changed probabilities by 0.0015.
    """
    graph = model.graph
    features = None if task == "embedding" else endings.head_input(graph, tensor)
    uncast = endings.before_cast(graph, tensor)
    half = uncast != tensor and ask(model, size, [uncast])[uncast].dtype == np.float16
    tensor = uncast if half else tensor
    rename(graph, tensor, OUTPUTS[task])
    described = [(OUTPUTS[task], width)]
    values = None if features is None or half else ask(model, size, [features]).get(features)
    if features is not None and values is not None and values.ndim == 2:  # noqa: PLR2004
        if values.dtype != np.float32:
            append(graph, "Cast", [features], "features", to=TensorProto.FLOAT)
        else:
            append(graph, "Identity", [features], "features")
        described.append(("features", values.shape[1]))
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT16 if half else TensorProto.FLOAT, ["N", count]
        )
        for name, count in described
    )
    prune(graph)
