"""The drift reference of a model: statistics of its validation pictures and outputs for them.

The reference is a small file of the artifact, whose hash the manifest lists. It contains only
moments and counts, because these can be added over batches, workers and time.
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
from artifacts.manifest import Task
from artifacts.pictures import Picture
from artifacts.runtime import Outputs, Runtime, in_chunks, probabilities
from artifacts.strict import Strict

MIN_SIDE = 8
"""Side at the centre of the first bin of sides, in pixels."""
SIDE_BINS = 19
"""Bin i is centred on a side of 8 * 2^(i/2) px, so that the area doubles from bin to bin; the last
is centred on 4096 px."""

Floats = npt.NDArray[np.float64]

REFERENCE_FILE = "reference.json"
CONFIDENCE_BINS = 10


class Moments(Strict):
    """Statistics of N pictures and of the model's outputs for them."""

    pictures: int = Field(ge=0)
    sides: tuple[int, ...] = Field(min_length=SIDE_BINS, max_length=SIDE_BINS)
    """Histogram of the sides, sqrt(width x height), of the pictures as sent; see `SIDE_BINS`."""
    confidences: tuple[int, ...] = ()
    """Histogram of the probability of the most probable class, in the bins of `Reference.edges`.
    Of a multi-label model, that is the largest of its independent probabilities."""
    mean: tuple[float, ...] = ()
    """Mean of each dimension of the features; empty if the graph gives no features."""
    variance: tuple[float, ...] = ()
    """Variance of each dimension of the features, with divisor N."""


class Reference(Strict):
    """Moments of the pictures that a model was validated on."""

    data: str
    """Description of the pictures."""
    edges: tuple[float, ...] = ()
    """Inner edges of the bins of confidences, ascending: the deciles of the reference, without
    duplicates."""
    moments: Moments

    @model_validator(mode="after")
    def _fits(self) -> Self:
        moments = self.moments
        counts = (moments.sides, *([moments.confidences] if self.edges else []))
        if any(sum(each) != moments.pictures for each in counts) or not moments.pictures:
            raise ValueError("every picture must count in exactly one bin of each histogram")
        if self.edges and len(moments.confidences) != len(self.edges) + 1:
            raise ValueError("there must be one edge fewer than bins of confidences")
        if len(moments.mean) != len(moments.variance):
            raise ValueError("every dimension must have a mean and a variance")
        return self


class Sums:
    """Converts pictures and outputs to arrays that can be added, and their sums to moments.

    Features are summed relative to the mean of the reference, which keeps their squares small.

    Args:
        reference: the reference that the moments will be compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self._edges = np.array(reference.edges)
        self._centre = np.array(reference.moments.mean)
        bins = (1, SIDE_BINS, len(reference.moments.confidences))
        ends = [0, *accumulate((*bins, len(self._centre), len(self._centre)))]
        self.size = ends[-1]
        """Length of the arrays."""
        self._parts = tuple(starmap(slice, pairwise(ends)))  # np.split took 50 times as long

    def of(
        self, sizes: Sequence[tuple[int, int]], confidences: Floats | None, features: Floats | None
    ) -> Floats:
        """Return the contribution of N pictures to the sums, an array of length `size`.

        Args:
            sizes: N pairs (width, height) in pixels.
            confidences: N probabilities of the most probable class; None if there are no classes.
            features: N x D; None if the graph gives no features.
        """
        values = np.zeros(self.size)
        pictures, sides, counts, shift, squares = (values[part] for part in self._parts)  # views
        pictures[0] = len(sizes)
        for side_bin in side_bins(sizes):
            sides[side_bin] += 1
        if confidences is not None:
            bins = np.searchsorted(self._edges, confidences)
            counts += np.bincount(bins, minlength=len(counts))
        if features is not None:
            centred = features - self._centre  # (N, D)
            centred.sum(axis=0, out=shift)
            np.einsum("nd,nd->d", centred, centred, out=squares)
        return values

    def moments(self, values: Floats) -> Moments:
        """Return the moments of all pictures whose contributions `values` is the sum of."""
        pictures, sides, confidences, shift, squares = (values[part] for part in self._parts)
        number = max(float(pictures[0]), 1.0)
        variance = np.maximum(squares / number - (shift / number) ** 2, 0.0)
        return Moments(
            pictures=int(pictures[0]),
            sides=tuple(sides.astype(int).tolist()),
            confidences=tuple(confidences.astype(int).tolist()),
            mean=tuple((self._centre + shift / number).tolist()),
            variance=tuple(variance.tolist()),
        )


def side_bins(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the bin of the side, sqrt(width x height), of each of N sizes (width, height)."""
    start = 2 * math.log2(MIN_SIDE)
    bins = (round(math.log2(width * height) - start) for width, height in sizes)
    return [min(max(index, 0), SIDE_BINS - 1) for index in bins]


def measure_reference(
    runtime: Runtime,
    pictures: Sequence[Picture] | Picture,
    temperature: float,
    data: str,
    task: Task = "classification",
) -> Reference:
    """Measure the reference on pictures that the model was not trained on.

    Args:
        runtime: the runtime of the model.
        pictures: uint8 H x W x 3 each, of any mix of sizes, as a user would send them.
        temperature: divisor of the logits.
        data: description of the pictures.
        task: task of the model, which says how logits become probabilities.
    """
    names = answer_outputs(runtime)
    sizes: list[tuple[int, int]] = []
    confidences: list[Floats | None] = []
    features: list[Floats | None] = []
    for chunk in in_chunks(pictures):
        sizes += [(picture.shape[1], picture.shape[0]) for picture in chunk]
        outputs = runtime.run(chunk, names)
        chunk_confidences, chunk_features = read_outputs(outputs, temperature, task)
        confidences.append(chunk_confidences)
        features.append(chunk_features)
    return reference_of(sizes, _joined(confidences), _joined(features), data)


def reference_of(
    sizes: Sequence[tuple[int, int]], confidences: Floats | None, features: Floats | None, data: str
) -> Reference:
    """Return the reference of N pictures and the outputs for them; see `Sums.of` for arguments."""
    edges: Floats = np.empty(0)
    if confidences is not None:
        shares = np.arange(1, CONFIDENCE_BINS) / CONFIDENCE_BINS
        edges = np.unique(_rounded(np.quantile(confidences, shares)))
    bins = np.searchsorted(edges, np.empty(0) if confidences is None else confidences)
    rows = np.empty((len(sizes), 0)) if features is None else features
    return Reference(
        data=data,
        edges=tuple(edges.tolist()),
        moments=Moments(
            pictures=len(sizes),
            sides=tuple(np.bincount(side_bins(sizes), minlength=SIDE_BINS).tolist()),
            confidences=tuple(np.bincount(bins, minlength=len(edges) + 1).tolist())
            if confidences is not None
            else (),
            mean=tuple(_rounded(rows.mean(axis=0)).tolist()),
            variance=tuple(_rounded(rows.var(axis=0)).tolist()),
        ),
    )


def answer_outputs(runtime: Runtime) -> tuple[str, ...]:
    """Return the outputs of a graph in which drift is measured: logits, features, embedding."""
    wanted = (OUTPUTS["classification"], "features", OUTPUTS["embedding"])
    return tuple(name for name in wanted if name in runtime.output_names)


def read_outputs(
    outputs: Outputs, temperature: float, task: Task = "classification"
) -> tuple[Floats | None, Floats | None]:
    """Return confidences (N) and features (N x D) from the outputs that `answer_outputs` names."""
    logits = outputs.get(OUTPUTS["classification"])
    features = outputs.get("features", outputs.get(OUTPUTS["embedding"]))
    return (
        None if logits is None else probabilities(logits, temperature, task).max(axis=1),
        None if features is None else features.astype(np.float64),
    )


def read_reference(artifact: Artifact) -> Reference | None:
    """Return the reference of an artifact, or None if it has none.

    Raises:
        ArtifactError: the file is not a valid reference.
    """
    if REFERENCE_FILE not in artifact.manifest.files:
        return None
    path = artifact.path / REFERENCE_FILE
    try:
        return Reference.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ArtifactError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; measure it again with "
            f"`vitrine train reference {artifact.manifest.name}`."
        ) from None


def check_fits(reference: Reference, outputs: Outputs) -> None:
    """Check that a reference fits the outputs of a graph.

    Raises:
        ArtifactError: the reference belongs to another graph.
    """
    confidences, features = read_outputs(outputs, 1.0)
    dimensions = 0 if features is None else features.shape[1]
    given = (len(reference.moments.mean), bool(reference.edges))
    if given != (dimensions, confidences is not None):
        raise ArtifactError(
            f"{REFERENCE_FILE} is of another graph: it has {given[0]} features, the graph "
            f"gives {dimensions}; restore the file, or measure it again with `vitrine train "
            "reference`."
        )


def write_reference(reference: Reference) -> bytes:
    """Return the content of `REFERENCE_FILE`."""
    return reference.model_dump_json().encode() + b"\n"


def _joined(parts: list[Floats | None]) -> Floats | None:
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays) if arrays else None


def _rounded(values: Floats) -> Floats:
    """Round to six digits: enough for a sample of thousands, and half as long in the file."""
    rounded: Floats = np.array([float(f"{value:.6g}") for value in values.ravel()])
    return rounded
