"""What was measured about a model trained on your own pictures; the page shows it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Pictures of one split, and what the model says about each of them.

    The number of pictures is N, and the number of classes is C.
    """

    paths: tuple[Path, ...]
    """N picture files; relative paths count from `Results.root`."""
    labels: Ints
    """N class numbers; or N x C of 0 and 1 if a picture may have several labels."""
    probabilities: Floats
    """N x C in 0..1, as the server answers: after temperature, by softmax or by sigmoids."""
    sizes: Ints
    """N x 2, width and height of the upright picture in pixels."""

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.paths)


@dataclass(frozen=True)
class Candidate:
    """One way of training that was tried."""

    name: str
    seconds: float
    """Time that training it took."""
    validation_accuracy: float
    """0..1; the mean average precision if a picture may have several labels."""
    chosen: bool
    """Whether the model comes from this candidate."""


@dataclass(frozen=True)
class Results:
    """A model trained on your own pictures, the pictures, and its answers.

    The number of classes is C.
    """

    name: str
    """Name of the model."""
    command: str
    """Command line that trained it."""
    seed: int
    hardware: str
    seconds: float
    """Time that the command took."""
    classes: tuple[str, ...]
    """C names; a label is an index into them."""
    root: Path
    """Folder that file names on the page are relative to."""
    training_counts: tuple[int, ...]
    """Number of training pictures of each class, C."""
    test: Rows
    """Pictures that nothing was fitted to or chosen by."""
    validation: Rows
    """Pictures that the candidate and the temperature were chosen with."""
    training: Rows | None = None
    """Training pictures with probabilities by models that were not trained on them (by
    cross-validation); None if there are none. Probabilities by the model itself must not be given:
    it has learned wrong labels, too."""
    findings: tuple[str, ...] = ()
    """Sentences of the inspection of the pictures."""
    unreadable: tuple[tuple[Path, str], ...] = ()
    """Files that were left out because they could not be read, with the reason."""
    duplicates: tuple[tuple[Path, ...], ...] = ()
    """Groups of pictures that are nearly the same."""
    candidates: tuple[Candidate, ...] = ()
    thresholds: tuple[float, ...] = ()
    """Probability from which each class is assigned, C; empty if a picture has one label."""

    @property
    def multilabel(self) -> bool:
        """Whether a picture may have several labels."""
        return self.test.labels.ndim == 2  # noqa: PLR2004
