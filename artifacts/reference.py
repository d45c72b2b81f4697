"""The reference that answers are compared with: a small file of an artifact, hashed as all are."""

from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from artifacts.artifact import Artifact
from artifacts.drift import SIDE_BINS, Floats, Moments, Reference, side_bins
from artifacts.errors import ArtifactError
from artifacts.graph import OUTPUTS
from artifacts.runtime import Outputs, Picture, Runtime, in_chunks, probabilities

REFERENCE_FILE = "reference.json"
CONFIDENCE_BINS = 10


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
