"""Finds labels that are probably wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.pictures.results import Floats, Ints, Results

TOLERANCE = 1e-6
"""Rounding error that a probability may have below the threshold of its class."""


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is probably wrong."""

    path: Path
    split: str
    label: str
    """Class that the label names; for several labels, such as "not CLASS"."""
    proposed: str
    """Class that the model proposes in its place."""
    label_probability: float
    """Probability of the label."""
    proposed_probability: float


def suspicious(labels: Ints, probabilities: Floats) -> tuple[Ints, Ints]:
    """Return which labels are probably wrong, the likeliest first, and the classes to propose.

    The method is confident learning (Northcutt et al. 2021, arXiv 1911.00068). The threshold of a
    class is the mean probability of that class over the pictures labelled so. A picture is counted
    to the likeliest class whose threshold it reaches, and is suspicious if that is not its label.
    It agrees with `cleanlab.filter.find_label_issues(filter_by="confident_learning")`.

    Args:
        labels: N class numbers.
        probabilities: N x C, by models that were not trained on these pictures.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, own, classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = probabilities >= thresholds - TOLERANCE
    proposed = np.where(reached, probabilities, -1).argmax(axis=1)
    wrong = np.flatnonzero(reached.any(axis=1) & (proposed != labels))
    ranked = wrong[np.argsort(own[wrong], kind="stable")]
    return ranked, proposed[ranked]


def find_suspects(results: Results) -> list[Suspect]:
    """Return the labels that are probably wrong, the likeliest first.

    All pictures that the model was not trained on are searched: test pictures, validation pictures
    and, if out-of-sample probabilities were given, training pictures. If a picture may have several
    labels, each class is searched by itself.
    """
    splits = {"test": results.test, "validation": results.validation, "training": results.training}
    rows = [(name, each) for name, each in splits.items() if each is not None and len(each)]
    origins = [(name, path) for name, each in rows for path in each.paths]
    labels = np.concatenate([each.labels for _, each in rows])
    probabilities = np.concatenate([each.probabilities for _, each in rows]).astype(np.float64)
    if not results.multilabel:
        return _suspects(labels, probabilities, results.classes, origins)
    found = []
    for i, name in enumerate(results.classes):
        both = np.stack([1 - probabilities[:, i], probabilities[:, i]], axis=1)
        found += _suspects(labels[:, i], both, (f"not {name}", name), origins)
    return sorted(found, key=lambda suspect: suspect.label_probability)


def _suspects(
    labels: Ints, probabilities: Floats, names: tuple[str, ...], origins: list[tuple[str, Path]]
) -> list[Suspect]:
    ranked, proposed = suspicious(labels, probabilities)
    return [
        Suspect(
            path=origins[i][1],
            split=origins[i][0],
            label=names[labels[i]],
            proposed=names[other],
            label_probability=float(probabilities[i, labels[i]]),
            proposed_probability=float(probabilities[i, other]),
        )
        for i, other in zip(ranked.tolist(), proposed.tolist(), strict=True)
    ]
