"""The parts of fitting that are plain statistics: logistic regression, areas, and the space."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from artifacts.known.detector import Single, Space

DIMENSIONS = 64
"""Maximum number of principal components that are kept."""
SHRINKAGE = 1e-3
"""Share of the mean variance that is added to the variance within classes in every direction, so
that directions without variance do not count infinitely."""
STEPS = 50
PENALTY = 0.05
"""Smaller penalties fit the declared outliers better, and refuse fewer of other kinds."""

Floats = npt.NDArray[np.float64]


def space_of(features: Single, labels: npt.NDArray[np.int64]) -> Space:
    """Return the space of N training pictures: principal components, whitened within classes.

    Args:
        features: N x D.
        labels: N class indices; a class without pictures gets no mean.
    """
    rows = features.astype(np.float64)
    centre = rows.mean(axis=0)
    rows = rows - centre
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    largest = variances[::-1][:DIMENSIONS]
    kept = axes[:, ::-1][:, :DIMENSIONS][:, largest > 1e-9 * largest[0]]
    inside = rows @ kept  # (N, K)
    _, places = np.unique(labels, return_inverse=True)
    means = np.zeros((int(places.max()) + 1, inside.shape[1]))
    np.add.at(means, places, inside)
    means /= np.bincount(places)[:, None]
    apart = inside - means[places]
    within = apart.T @ apart / len(apart)
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    projection = kept @ _whitening(within)  # (D, K)
    stored = projection.astype(np.float16).astype(np.float32)
    offset = centre.astype(np.float32) @ stored
    half_means = (means @ _whitening(within)).astype(np.float16).astype(np.float32)
    return Space(stored, offset, half_means)


def total_whitening(z: Single) -> Single:
    """Return the K x K matrix that whitens z (N x K) by its own covariance."""
    rows = z.astype(np.float64)
    covariance = rows.T @ rows / len(rows)
    covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening: Single = _whitening(covariance).astype(np.float32)
    return whitening


def logistic(groups: Sequence[tuple[Single, bool, float]], penalty: float = PENALTY) -> Single:
    """Fit a logistic regression in which known pictures and others have the same weight.

    Args:
        groups: rows (N x F, the last column 1), whether they are of known pictures, and the weight
            of the group among those of its kind.
        penalty: of half the squared weights of columns of variance 1, per picture.

    Returns:
        F weights.
    """
    rows = np.vstack([rows for rows, _, _ in groups]).astype(np.float64)
    truth = np.concatenate([np.full(len(rows), float(known)) for rows, known, _ in groups])
    total = {known: sum(w for _, k, w in groups if k == known) for known in (True, False)}
    weight = np.concatenate(
        [np.full(len(r), len(truth) * w / (2 * total[known] * len(r))) for r, known, w in groups]
    )
    centre, spread = rows[:, :-1].mean(axis=0), rows[:, :-1].std(axis=0) + 1e-6
    scaled = np.hstack([(rows[:, :-1] - centre) / spread, np.ones((len(rows), 1))])
    ridge = penalty * len(truth) * np.eye(scaled.shape[1])
    found = np.zeros(scaled.shape[1])
    for _ in range(STEPS):  # Newton's method
        chance = 1 / (1 + np.exp(-np.clip(scaled @ found, -50, 50)))
        slope = scaled.T @ (weight * (chance - truth)) + ridge @ found
        curve = (scaled * (weight * chance * (1 - chance))[:, None]).T @ scaled + ridge
        step = np.linalg.solve(curve, slope)
        found -= step
        if np.abs(step).max() < 1e-4:  # noqa: PLR2004 - converged
            break
    weights = found[:-1] / spread
    return np.append(weights, found[-1] - weights @ centre).astype(np.float32)


def area(known: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> float:
    """Return the area under the ROC curve: how often a known picture scores above another one."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.mean() / (2 * len(ordered)))


def _whitening(covariance: Floats) -> Floats:
    variances, axes = np.linalg.eigh(covariance)
    whitening: Floats = axes / np.sqrt(np.maximum(variances, 1e-12))
    return whitening
