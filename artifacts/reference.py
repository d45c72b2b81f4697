"""The reference that a model's answers are compared with: a small, hashed file of its artifact.

It holds moments and counts only, which add up over batches, over workers and over time.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise, starmap
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from artifacts.artifact import Artifact
from artifacts.errors import ArtifactError
from artifacts.graph import OUTPUTS
from artifacts.runtime import Outputs, Picture, Runtime, in_chunks, probabilities
from artifacts.strict import Strict

SMALLEST_SIDE = 8
SIDE_BINS = 19
"""Bin i holds sides around 8 * 2^(i/2) px, the last around 4096 px: doubled areas."""

Floats = npt.NDArray[np.float64]

REFERENCE_FILE = "reference.json"
CONFIDENCE_BINS = 10


class Moments(Strict):
    """What is kept of N pictures and the answers to them."""

    pictures: int = Field(ge=0)
    sides: tuple[int, ...] = Field(min_length=SIDE_BINS, max_length=SIDE_BINS)
    """Pictures by side, sqrt(width x height) as sent, in bins around 8 * 2^(i/2) px."""
    confidences: tuple[int, ...] = ()
    """Pictures by probability of the likeliest class, in the bins of `Reference.edges`."""
    mean: tuple[float, ...] = ()
    """Of each dimension of the features; empty for a graph that gives none."""
    variance: tuple[float, ...] = ()
    """As `mean`; over N."""


class Reference(Strict):
    """Moments of pictures that a model was validated on."""

    data: str
    """Which pictures."""
    edges: tuple[float, ...] = ()
    """Ascending confidences between two bins: deciles of the reference, equal ones once."""
    moments: Moments

    @model_validator(mode="after")
    def _fits(self) -> Self:
        moments = self.moments
        counts = (moments.sides, *([moments.confidences] if self.edges else []))
        if any(sum(each) != moments.pictures for each in counts) or not moments.pictures:
            raise ValueError("every picture counts in one bin of each histogram")
        if self.edges and len(moments.confidences) != len(self.edges) + 1:
            raise ValueError("edges lie between bins: one fewer than these is expected")
        if len(moments.mean) != len(moments.variance):
            raise ValueError("every dimension has a mean and a variance")
        return self


class Sums:
    """Adds up pictures and answers, to moments.

    Sums of features are taken from the mean of the reference, which keeps their squares small.

    Args:
        reference: that they will be compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self._edges = np.array(reference.edges)
        self._centre = np.array(reference.moments.mean)
        bins = (1, SIDE_BINS, len(reference.moments.confidences))
        ends = [0, *accumulate((*bins, len(self._centre), len(self._centre)))]
        self.size = ends[-1]
        """Numbers that sums consist of."""
        self._parts = tuple(starmap(slice, pairwise(ends)))  # np.split took 50 times as long

    def of(
        self, sizes: Sequence[tuple[int, int]], confidences: Floats | None, features: Floats | None
    ) -> Floats:
        """What N pictures add: `size` numbers.

        Args:
            sizes: N pairs (width, height), px.
            confidences: N probabilities of the likeliest class; None where there are no classes.
            features: N x D; None where there are none.
        """
        values = np.zeros(self.size)
        pictures, sides, sure, moved, squares = (values[part] for part in self._parts)  # views
        pictures[0] = len(sizes)
        for place in side_bins(sizes):
            sides[place] += 1
        if confidences is not None:
            places = np.searchsorted(self._edges, confidences)
            sure += np.bincount(places, minlength=len(sure))
        if features is not None:
            apart = features - self._centre  # (N, D)
            apart.sum(axis=0, out=moved)
            np.einsum("nd,nd->d", apart, apart, out=squares)
        return values

    def moments(self, values: Floats) -> Moments:
        """Moments of all pictures that are in sums of `of`."""
        pictures, sides, confidences, moved, squares = (values[part] for part in self._parts)
        number = max(float(pictures[0]), 1.0)
        variance = np.maximum(squares / number - (moved / number) ** 2, 0.0)
        return Moments(
            pictures=int(pictures[0]),
            sides=tuple(sides.astype(int).tolist()),
            confidences=tuple(confidences.astype(int).tolist()),
            mean=tuple((self._centre + moved / number).tolist()),
            variance=tuple(variance.tolist()),
        )


def side_bins(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Bin of the side, sqrt(width x height), of each of N sizes (width, height), px."""
    smallest = 2 * math.log2(SMALLEST_SIDE)
    places = (round(math.log2(width * height) - smallest) for width, height in sizes)
    return [min(max(place, 0), SIDE_BINS - 1) for place in places]


def measure_reference(
    runtime: Runtime, pictures: Sequence[Picture] | Picture, temperature: float, data: str
) -> Reference:
    """Take the reference from pictures that the model did not learn from.

    Args:
        runtime: of the model.
        pictures: uint8 H x W x 3, of any mix of sizes, as a user would send them.
        temperature: logits are divided by it.
        data: what to call the pictures.
    """
    names = answer_outputs(runtime)
    sizes: list[tuple[int, int]] = []
    confidences: list[Floats | None] = []
    features: list[Floats | None] = []
    for chunk in in_chunks(pictures):
        sizes += [(picture.shape[1], picture.shape[0]) for picture in chunk]
        sure, seen = read_outputs(runtime.run(chunk, names), temperature)
        confidences.append(sure)
        features.append(seen)
    return reference_of(sizes, _joined(confidences), _joined(features), data)


def reference_of(
    sizes: Sequence[tuple[int, int]], confidences: Floats | None, features: Floats | None, data: str
) -> Reference:
    """The reference of N pictures and the answers to them; arguments as of `Sums.of`."""
    edges: Floats = np.empty(0)
    if confidences is not None:
        shares = np.arange(1, CONFIDENCE_BINS) / CONFIDENCE_BINS
        edges = np.unique(_rounded(np.quantile(confidences, shares)))
    places = np.searchsorted(edges, np.empty(0) if confidences is None else confidences)
    rows = np.empty((len(sizes), 0)) if features is None else features
    return Reference(
        data=data,
        edges=tuple(edges.tolist()),
        moments=Moments(
            pictures=len(sizes),
            sides=tuple(np.bincount(side_bins(sizes), minlength=SIDE_BINS).tolist()),
            confidences=tuple(np.bincount(places, minlength=len(edges) + 1).tolist())
            if confidences is not None
            else (),
            mean=tuple(_rounded(rows.mean(axis=0)).tolist()),
            variance=tuple(_rounded(rows.var(axis=0)).tolist()),
        ),
    )


def answer_outputs(runtime: Runtime) -> tuple[str, ...]:
    """Outputs of a graph that tell of drift: logits and features, or the embedding."""
    wanted = (OUTPUTS["classification"], "features", OUTPUTS["embedding"])
    return tuple(name for name in wanted if name in runtime.output_names)


def read_outputs(outputs: Outputs, temperature: float) -> tuple[Floats | None, Floats | None]:
    """Confidences (N) and features (N x D) of the outputs that `answer_outputs` names."""
    logits = outputs.get(OUTPUTS["classification"])
    features = outputs.get("features", outputs.get(OUTPUTS["embedding"]))
    return (
        None if logits is None else probabilities(logits, temperature).max(axis=1),
        None if features is None else features.astype(np.float64),
    )


def read_reference(artifact: Artifact) -> Reference | None:
    """The reference of an artifact, or None where it has none.

    Raises:
        ArtifactError: what stands in its file is none.
    """
    if REFERENCE_FILE not in artifact.manifest.files:
        return None
    path = artifact.path / REFERENCE_FILE
    try:
        return Reference.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ArtifactError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; measure it anew with "
            f"`python -m training reference {artifact.manifest.name}`."
        ) from None


def check_fits(reference: Reference, outputs: Outputs) -> None:
    """Hold a reference to what its graph gives.

    Raises:
        ArtifactError: it is of another graph.
    """
    confidences, features = read_outputs(outputs, 1.0)
    dimensions = 0 if features is None else features.shape[1]
    given = (len(reference.moments.mean), bool(reference.edges))
    if given != (dimensions, confidences is not None):
        raise ArtifactError(
            f"{REFERENCE_FILE} is of another graph: it has {given[0]} features, the graph gives "
            f"{dimensions}; restore the file, or measure it anew."
        )


def write_reference(reference: Reference) -> bytes:
    """Content of `REFERENCE_FILE`."""
    return reference.model_dump_json().encode() + b"\n"


def _joined(parts: list[Floats | None]) -> Floats | None:
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays) if arrays else None


def _rounded(values: Floats) -> Floats:
    """Six digits are more than a sample of thousands tells, and half as long to write."""
    rounded: Floats = np.array([float(f"{value:.6g}") for value in values.ravel()])
    return rounded
