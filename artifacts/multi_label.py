"""Figures of multi-label models, and the thresholds of their classes.

In this module, N is the number of pictures and C the number of classes. A class counts in the mean
over classes only if at least one of the pictures has it, because its recall is unknown otherwise.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artifacts.manifest import DEFAULT_THRESHOLD

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decisions:
    """How often a model finds each class in N pictures, and how often it is right."""

    found: Ints
    """C numbers of pictures in which the model finds the class."""
    shown: Ints
    """C numbers of pictures that have the class."""
    right: Ints
    """C numbers of pictures that have the class and in which the model finds it."""

    @property
    def f1_macro(self) -> float:
        """Mean over the classes of F1, the harmonic mean of precision and recall, 0..1."""
        known = self.shown > 0
        if not known.any():
            return 0.0
        return float((2 * self.right[known] / (self.found + self.shown)[known]).mean())

    @property
    def f1_micro(self) -> float:
        """F1 of all decisions about all classes together, 0..1."""
        total = int(self.found.sum() + self.shown.sum())
        return 2 * int(self.right.sum()) / total if total else 0.0


def decide(probabilities: Floats, thresholds: tuple[float, ...], truth: Flags) -> Decisions:
    """Count the decisions at thresholds.

    Args:
        probabilities: N x C.
        thresholds: C probabilities from which on a class counts as present.
        truth: N x C, whether a picture has a class.
    """
    present = probabilities >= np.array(thresholds)
    return Decisions(present.sum(axis=0), truth.sum(axis=0), (present & truth).sum(axis=0))


def mean_average_precision(scores: npt.NDArray[np.floating], truth: Flags) -> float:
    """Return the mean over the classes of the average precision, 0..1; 0 if no picture has any.

    The average precision of a class is the mean precision at the pictures that have it, where the
    pictures are ranked by the score of the class. Pictures with equal scores share one rank.

    Args:
        scores: N x C, larger for classes that are more probable.
        truth: N x C, whether a picture has a class.
    """
    known = np.flatnonzero(truth.any(axis=0))
    values = [_average_precision(scores[:, c], truth[:, c]) for c in known]
    return float(np.mean(values)) if values else 0.0


def best_thresholds(probabilities: Floats, truth: Flags) -> tuple[float, ...]:
    """Return the threshold of each class at which its F1 is largest, rounded to six digits.

    A threshold lies halfway between two probabilities of the given pictures. A class that no
    picture has gets `DEFAULT_THRESHOLD`.

    Args:
        probabilities: N x C, of validation pictures.
        truth: N x C, whether a picture has a class.
    """
    return tuple(
        round(_best_threshold(probabilities[:, c], truth[:, c]), 6) for c in range(truth.shape[1])
    )


def _average_precision(scores: npt.NDArray[np.floating], truth: Flags) -> float:
    ranked, found, right = _cuts(scores, truth)
    gained = np.diff(right, prepend=0)
    return float((gained * right / found).sum() / right[-1]) if len(ranked) else 0.0


def _best_threshold(probabilities: Floats, truth: Flags) -> float:
    if not truth.any():
        return DEFAULT_THRESHOLD
    ranked, found, right = _cuts(probabilities, truth)
    best = int((right / (found + truth.sum())).argmax())  # half of F1
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float(ranked[best] + below) / 2


def _cuts(
    scores: npt.NDArray[np.floating], truth: Flags
) -> tuple[npt.NDArray[np.floating], Ints, Ints]:
    """Return the distinct scores in descending order, and what lies at or above each of them.

    Returns:
        The scores, the numbers of pictures, and the numbers of those that have the class.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # the last picture of each distinct score
    return ranked[last], np.flatnonzero(last) + 1, truth[order].cumsum()[last]
