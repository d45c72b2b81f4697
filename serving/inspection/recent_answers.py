"""Statistics of a server's recent answers: sums and counts, never a picture.

Each worker adds to a file of its own in the server's folder. Every worker reads all of these files
and adds up the sums, so a distance covers the answers of all workers, whichever is asked.
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
from serving.inference.models import Models
from serving.inference.served_model import ServedModel
from serving.schemas import Drift

BLOCKS = 10
"""Number of blocks of answers that a worker keeps for each model."""
BLOCK_SIZE = 100
"""Number of pictures after which a new block replaces the oldest. A worker thus remembers about the
last thousand."""
MAX_WAITING = 32
"""Number of pictures whose answers are added up together. Doing so one at a time took a tenth of
the work of a request."""
MAX_WAIT_SECONDS = 0.1
"""Maximum time until an answer is added up, in seconds."""

Ring = npt.NDArray[np.float64]
"""float64 BLOCKS x (1 + size of `Sums`). A row starts with the number of its block, from 1; unused
rows are 0."""


class _ModelAnswers:
    """The recent answers of one model at this worker: a ring buffer in a file, and its queue."""

    def __init__(self, model: ServedModel, reference: Reference, file: Path) -> None:
        self._temperature = model.manifest.temperature
        self._task = model.manifest.task
        self._sums = Sums(reference)
        self._ring = _ring(file, self._sums)
        self._sizes: list[tuple[int, int]] = []
        self._outputs: list[Outputs] = []

    @property
    def waiting(self) -> int:
        """Number of pictures that are not in the ring buffer yet."""
        return len(self._sizes)

    def add(self, sizes: Sequence[tuple[int, int]], outputs: Outputs) -> None:
        """Queue answers for the ring buffer."""
        self._sizes += sizes
        self._outputs.append(outputs)

    def fold(self) -> None:
        """Add the queued answers to the ring buffer."""
        if not self._sizes:
            return
        sizes, answers = self._sizes, self._outputs
        self._sizes, self._outputs = [], []
        outputs = {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
        # a value that is not finite would make all later sums useless
        finite = np.all([np.isfinite(rows).all(axis=1) for rows in outputs.values()], axis=0)
        kept = {name: rows[finite] for name, rows in outputs.items()}
        more = self._sums.of(
            [size for size, well in zip(sizes, finite, strict=True) if well],
            *read_outputs(kept, self._temperature, self._task),
        )
        row = self._ring[self._ring[:, 0].argmax()]
        if row[0] == 0 or row[1] >= BLOCK_SIZE:
            number = row[0] + 1
            row = self._ring[self._ring[:, 0].argmin()]
            row[:] = 0
            row[0] = number
        row[1:] += more


class RecentAnswers:
    """The recent answers of all models at one worker.

    Args:
        folder: a folder that only the workers of this server share.
        worker: index of this worker.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self._worker = worker
        self._models: WeakKeyDictionary[ServedModel, _ModelAnswers] = WeakKeyDictionary()

    def outputs(self, model: ServedModel, *wanted: str) -> tuple[str, ...]:
        """Return the outputs to run: those wanted, and those from which drift is computed."""
        if model.reference is None:
            return wanted
        return tuple(dict.fromkeys((*wanted, *answer_outputs(model.runtime))))

    def add(self, model: ServedModel, sizes: Sequence[tuple[int, int]], outputs: Outputs) -> None:
        """Add answers; those of a model without a reference are ignored.

        Args:
            model: the model that answered.
            sizes: (width, height) of the pictures as sent.
            outputs: values of the outputs that the method `outputs` names.
        """
        if model.reference is None:
            return
        answers = self._models.get(model)
        if answers is None:
            file = self._folder / f"{_file_stem(model)}-{self._worker}.drift"
            try:
                answers = self._models[model] = _ModelAnswers(model, model.reference, file)
            except OSError:  # the disk is full: answering matters more than watching
                return
        if not answers.waiting:
            asyncio.get_running_loop().call_later(MAX_WAIT_SECONDS, answers.fold)
        answers.add(sizes, outputs)
        if answers.waiting >= MAX_WAITING:
            answers.fold()

    def read(self, model: ServedModel) -> Drift:
        """Return the distances of all workers' recent answers from the model's reference.

        Answers that are still queued are not counted. It may be called from any thread.
        """
        if model.reference is None:
            return no_answers(model)
        sums = Sums(model.reference)
        values = np.zeros(sums.size)
        files = list(self._folder.glob(f"{_file_stem(model)}-*.drift"))
        for file in files:
            # if a worker is just writing to its file, some answers may be counted in part
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
        """Yield (model, quantity, distance) for every known distance, for the metrics."""
        for name, model in models.served.items():
            for distance in self.read(model).distances:
                yield name, distance.quantity, distance.value


def no_answers(model: ServedModel, answers: int = 0) -> Drift:
    """Return the drift of a model without a reference, or with too few answers for a distance."""
    reference = model.reference
    few = f"{answers} answers so far; {MIN_ANSWERS} are needed."
    none = "the artifact has no reference; `vitrine train reference NAME` measures it."
    return Drift(
        model=model.stamp,
        data=None if reference is None else reference.data,
        answers=answers,
        missing=none if reference is None else few,
        reference=reference,
    )


def _file_stem(model: ServedModel) -> str:
    """Return a name for files whose sums may be added: same graph, settings and reference."""
    return f"{model.manifest.name}-{model.manifest.digest[:16]}"


def _ring(file: Path, sums: Sums) -> Ring:
    """Map the ring buffer in a file into memory, which all workers share.

    A missing file is created complete, so that no other worker sees a part of it.
    """
    shape = (BLOCKS, 1 + sums.size)
    if not file.exists():
        new = file.with_suffix(".new")
        new.write_bytes(bytes(8 * shape[0] * shape[1]))
        new.replace(file)
    return np.asarray(np.memmap(file, np.float64, "r+", shape=shape))
