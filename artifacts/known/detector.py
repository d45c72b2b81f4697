"""Scores how much a picture is like those that a classifier was made for.

The features of a picture are projected onto their first principal components and whitened, so that
within a class they vary equally in all directions: z. From z and the logits follow these scores,
each larger for pictures that are more familiar:

- maximum-probability: log of the probability of the most probable class (Hendrycks and Gimpel 2017,
  arXiv 1610.02136);
- energy: log of the sum of the exponentials of the logits (Liu et al. 2020, arXiv 2010.03759);
- mahalanobis: minus the squared distance of z from the nearest class mean (Lee et al. 2018, arXiv
  1807.03888);
- relative-mahalanobis: the same plus the squared distance from the mean of all classes, whitened by
  the covariance of all pictures (Ren et al. 2021, arXiv 2106.09022);
- neighbours: mean cosine of the angles between z and the nearest training pictures (Sun et al.
  2022, arXiv 2204.06507);
- combined: the logit of a logistic regression from maximum-probability, energy, mahalanobis, the
  cosine to the nearest class mean, and the direction of z. It is fitted to tell validation pictures
  from declared outliers, on features that stay as they are (after outlier exposure, Hendrycks et
  al. 2019, arXiv 1812.04606).
"""

import io
import math
import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from artifacts.errors import ArtifactError

KNOWN_FILE = "known.npz"
SMALL = 1e-6
"""Keeps lengths from being zero."""
NEIGHBOURS = 5
"""Number of training pictures that `neighbours` averages over."""
SUMMARY = ("maximum-probability", "energy", "mahalanobis", "cosine")
"""Scores that `combined` uses besides the direction of z."""

Floats = npt.NDArray[np.floating]
Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """Where pictures are compared; D features, K dimensions, C classes.

    All arrays are float32.
    """

    projection: Single
    """D x K, from features to z."""
    centre: Single
    """K, z of the mean of the features."""
    means: Single
    """C x K, z of the mean of each class."""

    def z(self, features: Single) -> Single:
        """Return z, N x K, of features, N x D."""
        found: Single = features @ self.projection - self.centre
        return found

    def class_distances(self, z: Single) -> tuple[Single, Single, Single]:
        """Return how far z (N x K) is from the class means.

        Returns:
            The squared distance to the nearest mean, the largest cosine to a mean, and the length
            of z; N values each.
        """
        dots = z @ self.means.T  # (N, C)
        squares = np.einsum("nk,nk->n", z, z)
        lengths = np.sqrt(squares) + SMALL
        nearest = squares - 2 * (dots - self.half_squares).max(axis=1)
        return nearest, (dots * self.inverse_lengths).max(axis=1) / lengths, lengths

    @cached_property
    def half_squares(self) -> Single:
        """Half the squared length of each class mean, C values."""
        found: Single = np.einsum("ck,ck->c", self.means, self.means) / 2
        return found

    @cached_property
    def inverse_lengths(self) -> Single:
        """One divided by the length of each class mean, C values."""
        lengths = np.sqrt(2 * self.half_squares) + SMALL
        return (1 / lengths).astype(np.float32)


@dataclass(frozen=True)
class Detector:
    """A fitted detector of one method; D features, K dimensions, C classes.

    Arrays are stored in float16 where that is enough, and are float32 here.
    """

    method: str
    space: Space
    total: Single
    """K x K, whitens z by the covariance of all pictures; empty unless the method needs it."""
    bank: Single
    """B x K, directions of z of training pictures; empty unless the method needs it."""
    weights: Single
    """Of `combined`: those of `SUMMARY`, of the K directions, and a constant; else empty."""
    known: Single
    """Raw scores of the validation pictures: quantiles at equal steps from 0 to 1."""
    kept: Single
    """Scores, 0..1, of known pictures that are in no other figure: quantiles likewise."""
    refused: Single
    """Scores, 0..1, of outliers: quantiles likewise."""

    def scores(self, features: Single, logits: Floats) -> Floats:
        """Return the share of the validation pictures that look no more familiar, N values.

        Args:
            features: N x D.
            logits: N x C.
        """
        return self.ranked(self.raw(features, logits))

    def ranked(self, raw: Floats) -> Floats:
        """Return the share of the validation pictures with at most these raw scores, 0..1."""
        return np.interp(raw, self.known, self._steps)

    @cached_property
    def _steps(self) -> Floats:
        return np.linspace(0, 1, len(self.known))

    def raw(self, features: Single, logits: Floats) -> Floats:
        """Return the raw scores of the method, N values; larger is more familiar."""
        if self.method == "maximum-probability":
            return maximum_and_energy(logits)[0]
        if self.method == "energy":
            return maximum_and_energy(logits)[1]
        z = self.space.z(features)
        if self.method == "neighbours":
            return neighbours(z, self.bank)
        if self.method == "combined":
            return self._combined(z, logits)
        nearest, _, _ = self.space.class_distances(z)
        if self.method == "mahalanobis":
            return -nearest
        return relative(z, nearest, self.total)

    def _combined(self, z: Single, logits: Floats) -> Floats:
        """Return `summary` times the weights, in half the time; every answer waits for it.

        Numbers of one picture are combined in Python, where one operation costs a tenth of NumPy's
        on a short array.
        """
        probability, energy, distance, cosine, constant = self._scalars
        dots = z @ self._columns  # (N, C + 1)
        toward = dots[:, :-1]
        largest = np.maximum.reduce(logits, axis=1)
        columns = (
            dots[:, -1],
            np.maximum.reduce(toward * self.space.inverse_lengths, axis=1),
            np.maximum.reduce(toward - self.space.half_squares, axis=1),
            np.einsum("nk,nk->n", z, z),
            largest,
            np.add.reduce(np.exp(logits - largest[:, None]), axis=1),
        )
        return np.array(
            [
                (direction + cosine * nearest) / (math.sqrt(square) + SMALL)
                + distance * (2 * closest - square)
                + energy * top
                + (energy - probability) * math.log(total)
                + constant
                for direction, nearest, closest, square, top, total in zip(
                    *(column.tolist() for column in columns), strict=True
                )
            ]
        )

    @cached_property
    def _scalars(self) -> list[float]:
        return [*self.weights[: len(SUMMARY)].tolist(), float(self.weights[-1])]

    @cached_property
    def _columns(self) -> Single:
        """The class means and the weights of the directions, K x (C + 1)."""
        directions = self.weights[len(SUMMARY) : -1]
        return np.ascontiguousarray(np.vstack([self.space.means, directions]).T)

    def share_below(self, scores: Single, keep: float) -> float:
        """Return the share of `kept` or `refused` whose score is below the threshold of `keep`."""
        return float(np.interp(1 - keep, scores, np.linspace(0, 1, len(scores))))

    def write(self) -> bytes:
        """Return the content of `KNOWN_FILE`."""
        arrays = {
            "projection": _half(self.space.projection),
            "centre": self.space.centre,
            "means": _half(self.space.means),
            "total": self.total,
            "bank": _half(self.bank),
            "weights": self.weights,
            "known": self.known,
            "kept": _half(self.kept),
            "refused": _half(self.refused),
        }
        file = io.BytesIO()
        np.savez_compressed(file, method=np.array(self.method), **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read the content of `KNOWN_FILE`.

        Raises:
            ArtifactError: it is not that.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {n: np.asarray(file[n], np.float32) for n in file.files if n != "method"}
                method = str(file["method"])
            space = Space(**{field.name: arrays.pop(field.name) for field in fields(Space)})
            return cls(method=method, space=space, **arrays)
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ArtifactError(
                f"{KNOWN_FILE} cannot be read ({error}); restore it, or make it again with "
                "`vitrine train known`."
            ) from None

    def check_fits(self, features: Single, logits: Floats) -> None:
        """Check that the detector fits the outputs of a graph.

        Raises:
            ArtifactError: the detector belongs to another graph.
        """
        try:
            found = self.raw(features, logits)
        except ValueError as error:
            raise ArtifactError(
                f"{KNOWN_FILE} is of another graph ({error}); restore the file, or make it again "
                "with `vitrine train known`."
            ) from None
        if not np.isfinite(found).all():
            raise ArtifactError(f"{KNOWN_FILE} gives no finite score; make it again.")


def maximum_and_energy(logits: Floats) -> tuple[Floats, Floats]:
    """Return the log of the largest probability, and of the sum of exponentials, N values each."""
    largest = logits.max(axis=1)
    beyond = np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return -beyond, largest + beyond


def summary(space: Space, features: Single, logits: Floats) -> Single:
    """Return what `combined` weighs: `SUMMARY`, the direction of z, and 1; N x (4 + K + 1)."""
    z = space.z(features)
    nearest, cosines, lengths = space.class_distances(z)
    first = (*maximum_and_energy(logits), -nearest, cosines)
    return np.column_stack([*first, z / lengths[:, None], np.ones(len(z))]).astype(np.float32)


def directions(z: Single) -> Single:
    """Return the rows of z (N x K) scaled to length 1."""
    unit: Single = z / (np.sqrt(np.einsum("nk,nk->n", z, z)) + SMALL)[:, None]
    return unit


def neighbours(z: Single, bank: Single) -> Floats:
    """Return the mean cosine to the nearest rows of the bank (B x K), N values."""
    count = min(NEIGHBOURS, len(bank))
    cosines = directions(z) @ bank.T  # (N, B)
    found: Floats = np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
    return found


def relative(z: Single, nearest: Single, total: Single) -> Single:
    """Return the relative Mahalanobis score, N values."""
    whole = z @ total
    found: Single = np.einsum("nk,nk->n", whole, whole) - nearest
    return found


def _half(array: Single) -> npt.NDArray[np.float16]:
    return array.astype(np.float16)
