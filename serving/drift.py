"""What a server remembers of its last answers: sums and counts, never a picture.

Each worker adds to a file of its own in the server's folder, which every worker reads: sums add up,
so a distance is over the answers of all workers, whichever is asked.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.drift import LEAST_ANSWERS, Sums, distances
from artifacts.reference import answer_outputs, read_outputs
from artifacts.runtime import Outputs
from serving.models import Models, ServedModel
from serving.schemas import Drift

BLOCKS = 10
BLOCK = 100
"""Pictures, after which the oldest of a worker's blocks is forgotten and a new one begun: it
remembers the last thousand or so."""

Ring = npt.NDArray[np.float64]
"""BLOCKS x (1 + numbers of `Sums`); the first of a row numbers the blocks, from 1 on."""


class Windows:
    """The last answers of one worker's models.

    Args:
        folder: that the workers of one server share, and nobody else.
        worker: index of this one.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self._worker = worker
        self._rings: dict[str, tuple[Ring, Sums]] = {}

    def outputs(self, model: ServedModel, wanted: str) -> tuple[str, ...]:
        """Outputs to ask a model for: the one wanted, and those that tell of drift."""
        if model.reference is None:
            return (wanted,)
        return tuple(dict.fromkeys((wanted, *answer_outputs(model.runtime))))

    def add(self, model: ServedModel, sizes: Sequence[tuple[int, int]], outputs: Outputs) -> None:
        """Remember answers; those of a model without reference are not.

        Args:
            model: that answered.
            sizes: (width, height) of the pictures as sent.
            outputs: as `outputs` names them.
        """
        if model.reference is None:
            return
        key = _key(model)
        if key not in self._rings:
            sums = Sums(model.reference)
            self._rings[key] = _ring(self._folder / f"{key}-{self._worker}.drift", sums), sums
        ring, sums = self._rings[key]
        row = ring[ring[:, 0].argmax()]
        if row[0] == 0 or row[1] >= BLOCK:
            number = row[0] + 1
            row = ring[ring[:, 0].argmin()]
            row[:] = 0
            row[0] = number
        more = sums.of(sizes, *read_outputs(outputs, model.manifest.temperature))
        if np.isfinite(more).all():  # nothing finite would come after
            row[1:] += more

    def read(self, model: ServedModel) -> Drift:
        """How far the last answers of all workers lie from the model's reference."""
        if model.reference is None:
            return no_answers(model)
        sums = Sums(model.reference)
        values = np.zeros(sums.size)
        files = list(self._folder.glob(f"{_key(model)}-*.drift"))
        for file in files:
            # where its worker is writing just now, one request may be half in
            values += _ring(file, sums)[:, 1:].sum(axis=0)
        moments = sums.moments(values)
        if moments.pictures < LEAST_ANSWERS:
            return no_answers(model, moments.pictures)
        return Drift(
            model=model.stamp,
            data=model.reference.data,
            answers=moments.pictures,
            workers=len(files),
            distances=distances(model.reference, moments),
            reference=model.reference,
            moments=moments,
        )

    def gauges(self, models: Models) -> Iterator[tuple[str, str, float]]:
        """(model, quantity, distance) of all that can be told, for the metrics."""
        for name, model in models.served.items():
            for distance in self.read(model).distances:
                yield name, distance.quantity, distance.value


def no_answers(model: ServedModel, answers: int = 0) -> Drift:
    """What is said of a model without reference, or with fewer answers than a distance needs."""
    reference = model.reference
    few = f"{answers} answers so far; {LEAST_ANSWERS} are needed."
    none = "the artifact has no reference; `python -m training reference NAME` measures it."
    return Drift(
        model=model.stamp,
        data=None if reference is None else reference.data,
        answers=answers,
        missing=none if reference is None else few,
        reference=reference,
    )


def _key(model: ServedModel) -> str:
    """Of sums that may be added up: the same graph, settings and reference."""
    return f"{model.manifest.name}-{model.manifest.digest[:16]}"


def _ring(file: Path, sums: Sums) -> Ring:
    """The ring in a file, shared with whoever has it open; made whole where it is missing."""
    shape = (BLOCKS, 1 + sums.size)
    if not file.exists():
        new = file.with_suffix(".new")
        new.write_bytes(bytes(8 * shape[0] * shape[1]))
        new.replace(file)
    return np.asarray(np.memmap(file, np.float64, "r+", shape=shape))
