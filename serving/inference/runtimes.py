"""What runs the models: ONNX Runtime, or OpenVINO where `VITRINE_RUNTIME` asks for it."""

import logging
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts import Artifact, ArtifactError, Runtime, probabilities
from artifacts.graph import OUTPUTS
from artifacts.runtime import Picture
from artifacts.sessions import OpenVinoSession, check_openvino
from serving.settings import read_settings

BOUND = 0.1
"""Probabilities, or embeddings of length 1, may differ by this between the two."""
TRIED = 16
"""Pictures that both are shown."""

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


def open_runtime(artifact: Artifact, threads: int = 0, calls: int = 1) -> Runtime:
    """What answers for an artifact.

    That is ONNX Runtime, by which its figures were measured, unless OpenVINO is asked for, accepts
    the graph, and gives nearly the same answers to a few generated pictures.

    Args:
        artifact: verified.
        threads: within one call; 0 takes one per core.
        calls: made at once.

    Raises:
        ArtifactError: ONNX Runtime does not accept the graph.
        VitrineError: as `chosen_runtime`.
    """
    usual = Runtime.open(artifact, threads, spreads=True)
    if chosen_runtime() == "onnxruntime":
        return usual
    try:
        other = Runtime.open(artifact, threads, partial(OpenVinoSession, calls=calls))
        apart = difference(artifact, usual, other)
    except (ArtifactError, RuntimeError) as error:
        log.warning("model %s stays on ONNX Runtime: %s", artifact.name, error)
        return usual
    if not apart <= BOUND:  # so is a difference that is not a number
        log.warning(
            "model %s stays on ONNX Runtime: %s differs from it by up to %.2g, above %g",
            artifact.name,
            other.provider,
            apart,
            BOUND,
        )
        return usual
    log.info(
        "model %s: %s differs from ONNX Runtime by up to %.2g", artifact.name, other.provider, apart
    )
    return other


def difference(artifact: Artifact, first: Runtime, second: Runtime) -> float:
    """The greatest between what two runtimes answer to `TRIED` generated pictures.

    Of probabilities, of embeddings scaled to length 1.
    """
    output = OUTPUTS[artifact.manifest.task]
    shown = _pictures(max(64, artifact.manifest.input.accepted_side[0]))
    one, other = (
        answers(artifact, runtime.run(shown, [output])[output]) for runtime in (first, second)
    )
    return float(np.abs(one - other).max())


def answers(artifact: Artifact, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of logits (N x C), or embeddings (N x D) scaled to length 1."""
    if artifact.manifest.task == "classification":
        return probabilities(rows, artifact.manifest.temperature)
    unit: npt.NDArray[np.float64] = rows.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit


def _pictures(side: int) -> list[Picture]:
    """Patches of colour that run into one another, from coarse to fine."""
    random = np.random.default_rng(0)
    coarse = (random.integers(0, 256, (2 + i, 2 + i, 3), np.uint8) for i in range(TRIED))
    return [
        np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BICUBIC))
        for p in coarse
    ]
