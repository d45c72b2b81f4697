"""Chooses what runs a model: ONNX Runtime, or OpenVINO where `VITRINE_RUNTIME` asks for it."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts import Artifact, ArtifactError, Runtime, probabilities
from artifacts.devices import check_openvino
from artifacts.graph import OUTPUTS
from artifacts.pictures import Picture
from artifacts.sessions import OpenVinoSession
from serving.settings import read_settings

MAX_DIFFERENCE = 0.1
"""Largest accepted difference between the two runtimes, in probabilities or in the coordinates of
embeddings of length 1."""
COMPARED = 16
"""Number of generated pictures on which the two are compared."""

log = logging.getLogger("bentoml.vitrine")


def chosen_runtime() -> str:
    """The runtime that `VITRINE_RUNTIME` names: "onnxruntime" (the default) or "openvino".

    Raises:
        VitrineError: it names another, or one that is not installed.
    """
    chosen = read_settings().runtime
    if chosen == "openvino":
        check_openvino()
    return chosen


def open_runtime(
    artifact: Artifact, threads: int = 0, calls: int = 1, shared: Path | None = None
) -> Runtime:
    """Open the runtime of an artifact.

    That is ONNX Runtime, with which its figures were measured, unless OpenVINO is asked for,
    accepts the graph, and gives nearly the same answers for a few generated pictures.

    Args:
        artifact: verified.
        threads: within one call; 0 uses one per core.
        calls: number of calls that run at the same time.
        shared: folder for graphs that several processes share; see `Runtime`.

    Raises:
        ArtifactError: ONNX Runtime does not accept the graph.
        VitrineError: see `chosen_runtime`.
    """
    if chosen_runtime() == "openvino":
        openvino = _open_openvino(artifact, threads, calls)
        if openvino is not None:
            return openvino
    return Runtime.open(artifact, threads, shared=shared)


def _open_openvino(artifact: Artifact, threads: int, calls: int) -> Runtime | None:
    """OpenVINO's runtime; None if it refuses the graph or its answers differ too much."""
    reference = Runtime.open(artifact, threads)
    try:
        openvino = Runtime.open(artifact, threads, partial(OpenVinoSession, calls=calls))
        measured = difference(artifact, reference, openvino)
    except (ArtifactError, RuntimeError) as error:
        log.warning("model %s stays on ONNX Runtime: %s", artifact.name, error)
        return None
    name, provider = artifact.name, openvino.provider
    if not measured <= MAX_DIFFERENCE:  # written so that NaN counts as a difference
        log.warning(
            "model %s stays on ONNX Runtime: %s differs from it by up to %.2g, above %g",
            name,
            provider,
            measured,
            MAX_DIFFERENCE,
        )
        return None
    log.info("model %s: %s differs from ONNX Runtime by up to %.2g", name, provider, measured)
    return openvino


def difference(artifact: Artifact, first: Runtime, second: Runtime) -> float:
    """The largest difference between the answers of two runtimes to `COMPARED` generated pictures.

    Probabilities are compared, or embeddings scaled to length 1.
    """
    output = OUTPUTS[artifact.manifest.task]
    pictures = _generated(max(64, artifact.manifest.input.accepted_side[0]))
    one, other = (
        answers(artifact, runtime.run(pictures, [output])[output]) for runtime in (first, second)
    )
    return float(np.abs(one - other).max())


def answers(artifact: Artifact, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Calibrated probabilities from logits (N x C), or embeddings (N x D) scaled to length 1."""
    manifest = artifact.manifest
    if manifest.task != "embedding":
        return probabilities(rows, manifest.temperature, manifest.task)
    unit: npt.NDArray[np.float64] = rows.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit


def _generated(side: int) -> list[Picture]:
    """Smooth patches of colour, from coarse to fine."""
    random = np.random.default_rng(0)
    coarse = (random.integers(0, 256, (2 + i, 2 + i, 3), np.uint8) for i in range(COMPARED))
    return [
        np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BICUBIC))
        for p in coarse
    ]
