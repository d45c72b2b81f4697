"""Near-duplicates: copies of a picture that were saved again, resized, brightened or trimmed.

Perceptual hashes (ImageHash's `phash`, 64 bits) propose pairs, and small grey thumbnails decide:
two pictures are near-duplicates if one thumbnail, in its best brightness and contrast, equals the
other almost everywhere. Larger pictures are also compared after the one is stretched and moved a
little to fit the other, because trimming the margins moves everything else. Pictures that are
almost of one grey have too little to compare, so only identical files count as copies of them.

`python -m benchmarks.near_duplicates` measures both errors. Share of 300 copies that were grouped
with their originals, and groups found among the originals alone:

                           Stanford Cars  CelebA  CIFAR-10   MNIST
    shorter side, px            58 to 208     112        32      28
    pictures                        8,144   4,921    20,000  20,000
    JPEG of quality 50              1.000   1.000     0.967   0.987
    JPEG of quality 20              1.000   1.000     0.763   0.857
    half the size                   1.000   1.000     0.527   0.157
    brightness 0.7                  1.000   1.000     1.000   1.000
    brightness 1.3                  1.000   0.993     0.953   1.000
    trimmed by 4 %                  0.857   0.963     0.047   0.000
    trimmed by 8 %                  0.380   0.717     0.000   0.000
    0.85, 60 % size, JPEG 60        1.000   1.000     0.440   0.317
    groups without copies              22      51        21       1

The 22 groups of cars contain the 11 pairs of the training split that the data set's list of
duplicates names, and 21 of them have two labels. All groups of cars and of CIFAR-10, and 45 of
CelebA, were looked at: each shows one photograph twice. Correlation alone would have joined 7,671
pairs of MNIST's digits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import faiss
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts.pictures import Picture
from training.pictures.alignment import aligned, correlate, greatest_difference, standardized

SIDE = 32
"""Height and width of thumbnails, in pixels."""
NEIGHBOURS = 32
"""Number of pictures with the most similar hashes that a picture is compared with."""
MAX_BITS = 12
"""Maximum Hamming distance between the hashes of near-duplicates, of 64 bits."""
MIN_CORRELATION = 0.95
"""Minimum correlation between the thumbnails of near-duplicates."""
MAX_DIFFERENCE = 1.25
"""Maximum difference between the thumbnails at any pixel, in standard deviations of the picture.
It tells saved copies, whose noise is spread evenly, from other pictures of the same outline."""
MIN_ALIGNED_CORRELATION = 0.97
MAX_ALIGNED_DIFFERENCE = 1.0
"""The same limits for thumbnails that were moved to fit, which chance makes more similar."""
MIN_ALIGNABLE = 0.7
"""Minimum correlation of thumbnails for an attempt to fit them."""
ATTEMPTS = 2
"""Number of other pictures to which a picture's thumbnail is fitted at most: the most similar."""
MIN_SIDE = 64
"""Shorter side in pixels from which pictures are fitted; smaller ones have too little detail."""
MIN_CONTRAST = 6.0
"""Minimum standard deviation of a thumbnail, in grey levels, for it to be compared at all."""
CHUNK = 1024
"""Number of pairs that are compared at once, which bounds memory."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Look:
    """What a picture looks like, in about a kilobyte."""

    digest: bytes
    """sha256 of the file."""
    hash: npt.NDArray[np.uint8]
    """8 bytes, the perceptual hash."""
    thumbnail: npt.NDArray[np.uint8]
    """SIDE x SIDE grey levels."""
    shorter: int
    """Shorter side of the picture, in pixels."""


def look_at(pixels: Picture, digest: bytes) -> Look:
    """Return what a picture looks like.

    Args:
        pixels: uint8 H x W x 3 RGB.
        digest: sha256 of its file.
    """
    grey = Image.fromarray(pixels).convert("L")
    small = grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    shorter = min(pixels.shape[:2])
    return Look(digest, np.packbits(imagehash.phash(small).hash), np.asarray(small), shorter)


def near_duplicates(looks: Sequence[Look]) -> list[tuple[int, ...]]:
    """Return groups of pictures that are the same file or near-duplicates of one another.

    The time grows in proportion to the number of pictures, apart from the search among hashes,
    which takes 3 of the 11 seconds that 50,000 pictures take on one core.

    Returns:
        Sorted indices of each group, which has two members or more. No picture is in two groups.
    """
    parents = list(range(len(looks)))
    first: dict[bytes, int] = {}
    for index, look in enumerate(looks):
        join(parents, index, first.setdefault(look.digest, index))
    structured = [i for i in first.values() if looks[i].thumbnail.std() >= MIN_CONTRAST]
    for one, other in _similar([looks[i] for i in structured]):
        join(parents, structured[one], structured[other])
    return groups(parents)


def join(parents: list[int], one: int, other: int) -> None:
    """Merge the groups of two members of a union-find forest; the smaller root stays."""
    one, other = sorted((root(parents, one), root(parents, other)))
    parents[other] = one


def root(parents: list[int], member: int) -> int:
    """Return the first member of a group of a union-find forest."""
    while parents[member] != member:
        parents[member] = parents[parents[member]]
        member = parents[member]
    return member


def groups(parents: list[int]) -> list[tuple[int, ...]]:
    """Return the groups of two members or more of a union-find forest."""
    found: dict[int, list[int]] = {}
    for member in range(len(parents)):
        found.setdefault(root(parents, member), []).append(member)
    return [tuple(members) for members in found.values() if len(members) > 1]


def _similar(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Yield the pairs that are near-duplicates."""
    if len(looks) < 2:  # noqa: PLR2004
        return
    thumbnails = np.stack([look.thumbnail for look in looks])
    alignable = np.array([look.shorter >= MIN_SIDE for look in looks])
    pairs = _proposed(np.stack([look.hash for look in looks]))
    correlations = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), CHUNK):
        some = pairs[start : start + CHUNK]
        ones, others = (standardized(thumbnails[side]) for side in some.T)
        correlation = correlations[start : start + CHUNK]  # a view
        correlation[:] = correlate(ones, others)
        same = np.flatnonzero(correlation >= MIN_CORRELATION)
        same = same[greatest_difference(ones[same], others[same]) <= MAX_DIFFERENCE]
        yield from map(tuple, some[same].tolist())
        correlation[same] = -1  # decided
    undecided = (correlations >= MIN_ALIGNABLE) & alignable[pairs].all(1)
    tried = _best(pairs[undecided], correlations[undecided], len(looks))
    for start in range(0, len(tried), CHUNK):
        some = tried[start : start + CHUNK]
        ones, others = aligned(*(standardized(thumbnails[side]) for side in some.T))
        fits = correlate(ones, others) >= MIN_ALIGNED_CORRELATION
        fits &= greatest_difference(ones, others) <= MAX_ALIGNED_DIFFERENCE
        yield from map(tuple, some[fits].tolist())


def _proposed(hashes: npt.NDArray[np.uint8]) -> Ints:
    """Return pairs of indices whose hashes are similar: P x 2, the smaller index first."""
    index = faiss.IndexBinaryFlat(hashes.shape[1] * 8)
    index.add(hashes)
    distances, found = index.search(hashes, min(NEIGHBOURS + 1, len(hashes)))
    ones = np.repeat(np.arange(len(hashes)), found.shape[1])
    others = found.ravel()
    near = (distances.ravel() <= MAX_BITS) & (ones != others)
    pairs = np.stack([ones[near], others[near]], 1)
    pairs.sort(axis=1)
    return np.unique(pairs, axis=0).astype(np.int64)


def _best(pairs: Ints, correlations: npt.NDArray[np.float32], count: int) -> Ints:
    """Return the pairs that are among the `ATTEMPTS` most similar ones of one of its pictures."""
    seen = np.zeros(count, np.int64)
    kept = []
    for one, other in pairs[np.argsort(-correlations, kind="stable")].tolist():
        if seen[one] < ATTEMPTS or seen[other] < ATTEMPTS:
            kept.append((one, other))
        seen[[one, other]] += 1
    return np.array(kept, np.int64).reshape(-1, 2)
