"""Near-duplicates: pictures that show the same photograph, re-encoded, resized or retouched."""

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts.pictures import Picture

SIDE = 32
"""Height and width of thumbnails, in pixels."""
MAX_BITS = 8
"""Maximum Hamming distance between the perceptual hashes of near-duplicates, of 64 bits."""
MIN_CORRELATION = 0.98
"""Minimum correlation between the thumbnails of near-duplicates."""
MIN_CONTRAST = 6.0
"""Minimum standard deviation of a thumbnail, in grey levels, for its structure to be told from
noise."""
CHUNK = 4096


@dataclass(frozen=True)
class Look:
    """What a picture looks like, in a few bytes."""

    digest: bytes
    """sha256 of the file."""
    hash: npt.NDArray[np.uint8]
    """8 bytes, the perceptual hash."""
    thumbnail: npt.NDArray[np.uint8]
    """SIDE x SIDE grey levels."""


def look_at(pixels: Picture, digest: bytes) -> Look:
    """Return what a picture looks like.

    Args:
        pixels: uint8 H x W x 3 RGB.
        digest: sha256 of its file.
    """
    grey = Image.fromarray(pixels).convert("L")
    small = grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Look(digest, np.packbits(imagehash.phash(small).hash), np.asarray(small))


def near_duplicates(looks: Sequence[Look]) -> list[tuple[int, ...]]:
    """Return groups of pictures that are the same file or near-duplicates of one another.

    Returns:
        Sorted indices of each group, which has two members or more. No picture is in two groups.
    """
    parents = list(range(len(looks)))
    first: dict[bytes, int] = {}
    for index, look in enumerate(looks):
        join(parents, index, first.setdefault(look.digest, index))
    for one, other in _similar(looks):
        join(parents, one, other)
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


def _similar(looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Return the pairs whose hashes and thumbnails agree."""
    if not looks:
        return []
    hashes = np.stack([look.hash for look in looks])
    thumbnails = np.stack([look.thumbnail for look in looks])
    normal, contrast = _normalized(thumbnails)
    index = faiss.IndexBinaryFlat(hashes.shape[1] * 8)
    index.add(hashes)
    pairs = []
    for start in range(0, len(looks), CHUNK):
        limits, _, found = index.range_search(hashes[start : start + CHUNK], MAX_BITS + 1)
        counts = (limits[1:] - limits[:-1]).astype(np.int64)
        ones = np.repeat(np.arange(start, start + len(counts)), counts)
        later = found > ones
        one, other = ones[later], found[later]
        same = np.einsum("ij,ij->i", normal[one], normal[other]) >= MIN_CORRELATION
        same &= np.minimum(contrast[one], contrast[other]) >= MIN_CONTRAST
        pairs += list(zip(one[same].tolist(), other[same].tolist(), strict=True))
    return pairs


def _normalized(
    thumbnails: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return thumbnails with mean 0 and norm 1 (N x pixels), and their contrast in grey levels."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    contrast = flat.std(1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), contrast
