"""`--check`: what an imported model says about a picture, before it is published."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.errors import ArtifactError
from artifacts.graph import OUTPUTS
from artifacts.imports.endings import kind_of
from artifacts.manifest import Manifest, Task
from artifacts.pictures import read_picture
from artifacts.runtime import Runtime, probabilities

TOP = 5


def check(
    runtime: Runtime, manifest: Manifest, picture: Path, expect: Path | None, tolerance: float
) -> list[str]:
    """Ask a model about a picture, and compare the answer with that of its own framework.

    Args:
        runtime: of the model.
        manifest: of the model.
        picture: a file.
        expect: a NumPy file of shape C or 1 x C, of probabilities or logits; of shape D or 1 x D
            for embeddings.
        tolerance: greatest difference that is accepted, of probabilities or of values of the
            embedding.

    Returns:
        Lines for the user: the likeliest classes with their probabilities, and the difference.

    Raises:
        ArtifactError: the difference is greater, or `expect` has another shape.
        DataError: the picture cannot be read.
    """
    output = runtime.run([read_picture(picture)])[OUTPUTS[manifest.task]].astype(np.float64)
    answer = _shares(output, manifest.task)[0]
    lines = []
    if manifest.task != "embedding":
        order = np.argsort(-answer)[:TOP]
        lines = [f"  {answer[index]:.4f}  {manifest.classes[index]}" for index in order]
    if expect is None:
        return lines
    expected = _expected(expect, len(answer), manifest.task)
    difference = float(np.abs(answer - expected).max())
    place = int(np.abs(answer - expected).argmax())
    if not difference <= tolerance:
        what = manifest.classes[place] if manifest.classes else f"value {place}"
        raise ArtifactError(
            f"{picture.name}: {what} is {answer[place]:.4f} here and {expected[place]:.4f} in "
            f"{expect.name}, which differs by more than {tolerance:g}; check the options of "
            "preprocessing, or accept it with --tolerance. Nothing was imported."
        )
    return [*lines, f"  largest difference from {expect.name}: {difference:.2g}"]


def _shares(values: npt.NDArray[np.float64], task: Task) -> npt.NDArray[np.float64]:
    """Return probabilities of logits, or the embedding itself (N x C)."""
    if task == "embedding":
        return values
    return probabilities(values, 1.0, task)


def _expected(path: Path, count: int, task: Task) -> npt.NDArray[np.float64]:
    try:
        values = np.load(path, allow_pickle=False)
        rows: npt.NDArray[np.float64] = np.asarray(values, np.float64).reshape(1, -1)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise ArtifactError(f"{path}: not readable as a NumPy file of numbers ({error}).") from None
    if rows.shape[1] == 1 and count == 2 and 0 <= rows[0, 0] <= 1:  # noqa: PLR2004
        return np.array([1 - rows[0, 0], rows[0, 0]])  # the probability of the second class
    if values.shape not in {(count,), (1, count)}:
        raise ArtifactError(
            f"{path}: shape {values.shape}; expected ({count},) or (1, {count}), the answer to one "
            "picture."
        )
    given = {"classification": "softmax", "multi-label": "sigmoid"}.get(task)
    shares = rows if kind_of(rows) == given else _shares(rows, task)
    return shares.reshape(-1)
