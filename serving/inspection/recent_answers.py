"""What a server remembers of its last answers: sums and counts, never a picture.

Each worker adds to a file of its own in the server's folder, which every worker reads: sums add up,
so a distance is over the answers of all workers, whichever is asked.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from artifacts.drift_distances import MIN_ANSWERS, distances
from artifacts.reference import Reference, Sums, answer_outputs, read_outputs
from artifacts.runtime import Outputs
from serving.inference.models import Models, ServedModel
from serving.schemas import Drift

BLOCKS = 10
BLOCK = 100
"""Pictures, after which the oldest of a worker's blocks is forgotten and a new one begun: it
remembers the last thousand or so."""
TOGETHER = 32
"""Pictures whose answers are added up at once: one at a time took a tenth of a request's work."""
LATEST = 0.1
"""Seconds that answers wait for others at most."""

Ring = npt.NDArray[np.float64]
"""BLOCKS x (1 + numbers of `Sums`); the first of a row numbers the blocks, from 1 on."""


class _Window:
    """The answers of one model at this worker: a ring in a file, and what is not in it yet."""

    def __init__(self, model: ServedModel, reference: Reference, file: Path) -> None:
        self._temperature = model.manifest.temperature
        self._sums = Sums(reference)
        self._ring = _ring(file, self._sums)
        self._sizes: list[tuple[int, int]] = []
        self._outputs: list[Outputs] = []

    @property
    def waiting(self) -> int:
        """Pictures that are not in the ring yet."""
        return len(self._sizes)

    def add(self, sizes: Sequence[tuple[int, int]], outputs: Outputs) -> None:
        """Remember answers, at first outside the ring."""
        self._sizes += sizes
        self._outputs.append(outputs)

    def fold(self) -> None:
        """Add to the ring what waits."""
        if not self._sizes:
            return
        sizes, answers = self._sizes, self._outputs
        self._sizes, self._outputs = [], []
        outputs = {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
        # nothing finite would come after what is not
        finite = np.all([np.isfinite(rows).all(axis=1) for rows in outputs.values()], axis=0)
        kept = {name: rows[finite] for name, rows in outputs.items()}
        more = self._sums.of(
            [size for size, well in zip(sizes, finite, strict=True) if well],
            *read_outputs(kept, self._temperature),
        )
        row = self._ring[self._ring[:, 0].argmax()]
        if row[0] == 0 or row[1] >= BLOCK:
            number = row[0] + 1
            row = self._ring[self._ring[:, 0].argmin()]
            row[:] = 0
            row[0] = number
        row[1:] += more


class Windows:
    """The last answers of all models at one worker.

    Args:
        folder: that the workers of one server share, and nobody else.
        worker: index of this one.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self._worker = worker
        self._windows: WeakKeyDictionary[ServedModel, _Window] = WeakKeyDictionary()

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
        window = self._windows.get(model)
        if window is None:
            file = self._folder / f"{_key(model)}-{self._worker}.drift"
            window = self._windows[model] = _Window(model, model.reference, file)
        if not window.waiting:
            asyncio.get_running_loop().call_later(LATEST, window.fold)
        window.add(sizes, outputs)
        if window.waiting >= TOGETHER:
            window.fold()

    def read(self, model: ServedModel) -> Drift:
        """How far the last answers of all workers, but for those that wait yet, have moved.

        They are compared with the model's reference. From any thread.
        """
        if model.reference is None:
            return no_answers(model)
        sums = Sums(model.reference)
        values = np.zeros(sums.size)
        files = list(self._folder.glob(f"{_key(model)}-*.drift"))
        for file in files:
            # where its worker is writing just now, some answers may be half in
            values += _ring(file, sums)[:, 1:].sum(axis=0)
        moments = sums.moments(values)
        if moments.pictures < MIN_ANSWERS:
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
    few = f"{answers} answers so far; {MIN_ANSWERS} are needed."
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
