"""Caches the outputs of a network's frozen prefix for every picture on disk."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator
from filelock import FileLock
from torch import Tensor, fx

from artifacts import DataError
from artifacts.progress import track
from training.augment import flip_mask
from training.data import CACHE, Splits
from training.inputs import Inputs, Pictures
from training.placement import OnDevice, place
from training.recipe import Recipe, RecipeError
from training.settings import Augment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEFAULT_LIMIT = 100.0
"""Maximum size of all cached tables together, GB, if `VITRINE_CACHE_GB` is not set."""
GIGA = 10**9


class CachedSource:
    """Boundary tensors of a frozen prefix, read from a memory-mapped table on disk.

    A row of the table holds all boundary tensors of one picture. If the recipe flips pictures, a
    second block of rows holds those of the mirrored pictures.

    Args:
        prefix: Maps images N x 3 x H x W to a tuple of boundary tensors N x ...
        pictures: The pictures to compute.
        content: Identifies the pictures: data set, its hash, and split.
        mirrors: Whether mirrored pictures are needed.
        accelerator: Device and precision of the prefix.

    Raises:
        DataError: The free disk space or the limit `VITRINE_CACHE_GB` is too small.
    """

    def __init__(
        self,
        prefix: fx.GraphModule,
        pictures: Pictures,
        content: str,
        *,
        mirrors: bool,
        accelerator: Accelerator,
    ) -> None:
        self.pictures, self.recipe, self.accelerator = pictures, pictures.recipe, accelerator
        self.prefix = prefix.eval()
        self.labels, self.batch_size = pictures.labels, pictures.batch_size
        self.views = [pictures.plain, pictures.mirrored] if mirrors else [pictures.plain]
        first = self._run(pictures.plain(torch.zeros(1, dtype=torch.long)))
        self.shapes = [_channels_last(tensor).shape[1:] for tensor in first]
        self.dtypes = [tensor.dtype for tensor in first]
        device = accelerator.device
        self.rows = place(self._open_table(CACHE / f"prefix-{self._key(content)}.bin"), device)
        self.targets = OnDevice(self.labels, device)

    def announce(self, batches: Sequence[Tensor]) -> None:
        """Do nothing: which rows a batch has is known once its flips are drawn."""

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """See `Source.training`."""
        mirrored = flip_mask(indices, self.recipe, generator, epoch)
        block = 0 if mirrored is None else mirrored.long() * len(self.labels)
        return self._rows(indices + block), self.targets.take(indices)

    def plain(self, indices: Tensor) -> Inputs:
        """See `Source.plain`."""
        return self._rows(indices)

    def largest(self, count: int) -> Inputs:
        """See `Source.largest`; all rows have one size."""
        return self._rows(torch.zeros(count, dtype=torch.long))

    def _rows(self, rows: Tensor) -> Inputs:
        values = self.rows.take(rows)  # (N, F)
        parts = torch.split(values, [shape.numel() for shape in self.shapes], 1)
        found = zip(parts, self.shapes, self.dtypes, strict=True)
        return tuple(_channels_first(p.view(-1, *shape)).to(dtype) for p, shape, dtype in found)

    @torch.no_grad()
    def _run(self, inputs: Inputs) -> Inputs:
        with self.accelerator.autocast():
            boundary: Inputs = self.prefix(*inputs)
        return boundary

    def _open_table(self, path: Path) -> Tensor:
        """Open the table on disk; the first process that needs it computes it."""
        dtype = DTYPES[self.recipe.cache]
        count = len(self.labels)
        shape = (count * len(self.views), sum(s.numel() for s in self.shapes))
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # one process computes, the others wait
            if path.exists():
                os.utime(path)  # marks it as recently used, for `_make_room`
            else:
                partial = path.with_suffix(".partial")
                _make_room(path.parent, shape[0] * shape[1] * dtype.itemsize)
                self._fill(_mapped(partial, shape, dtype, shared=True))
                partial.rename(path)
        return _mapped(path, shape, dtype, shared=False)

    def _fill(self, table: Tensor) -> None:
        count = len(self.labels)
        name = f"{self.recipe.artifact_name}: computing the outputs of the frozen layers"
        for block, view in enumerate(self.views):
            for rows in track(torch.split(torch.arange(count), self.batch_size), name):
                boundary = self._run(view(rows))
                flat = torch.cat([_channels_last(tensor).flatten(1) for tensor in boundary], 1)
                table[rows + block * count] = flat.to("cpu", table.dtype)

    def _key(self, content: str) -> str:
        """Return a shortened sha256 of everything that determines the content of the table."""
        recipe = self.recipe
        settings = (content, asdict(recipe.data), recipe.seed, recipe.policy.model_dump())
        precision, device = self.accelerator.mixed_precision, self.accelerator.device.type
        numbers = (recipe.cache, precision, len(self.views), device)
        code = (torch.__version__, version("timm"), self.prefix.code)
        digest = hashlib.sha256(json.dumps([settings, numbers, code]).encode())
        for name, weight in self.prefix.state_dict().items():
            digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def frozen_sources(
    prefix: fx.GraphModule, splits: Splits, recipe: Recipe, accelerator: Accelerator
) -> tuple[CachedSource, CachedSource]:
    """Return the training and the validation split as seen behind a frozen prefix.

    Raises:
        RecipeError: The recipe has an augmentation other than flips, which cannot be cached.
        DataError: See `CachedSource`.
    """
    if replace(recipe.augment, flip="none") != Augment():
        raise RecipeError(
            f"{recipe.name}: the cache of a frozen prefix allows flips and no other augmentation; "
            "set `cache: none` or remove the others."
        )
    found = []
    for name, split in (("train", splits.train), ("validation", splits.validation)):
        pictures = Pictures(split, recipe, accelerator.device, once=True)
        content = f"{splits.source.name} {splits.source.pixels_key} {name}"
        mirrors = name == "train" and recipe.augment.flip != "none"
        found.append(
            CachedSource(prefix, pictures, content, mirrors=mirrors, accelerator=accelerator)
        )
    return found[0], found[1]


def _mapped(path: Path, shape: tuple[int, int], dtype: torch.dtype, *, shared: bool) -> Tensor:
    count = shape[0] * shape[1]
    flat = torch.from_file(str(path), shared=shared, size=count, dtype=dtype)
    return flat.view(shape)


def _make_room(folder: Path, size: int) -> None:
    """Remove the least recently used tables until `size` more bytes fit within the limit.

    Raises:
        DataError: The limit or the free disk space is too small.
    """
    limit = float(os.environ.get("VITRINE_CACHE_GB") or DEFAULT_LIMIT) * GIGA
    tables = sorted(folder.glob("prefix-*.bin"), key=lambda path: path.stat().st_mtime)
    held = sum(path.stat().st_size for path in tables)
    while tables and size + held > limit and size <= limit:
        oldest = tables.pop(0)
        held -= oldest.stat().st_size
        oldest.unlink()
    free = shutil.disk_usage(folder).free
    if size > min(limit, free):
        raise DataError(
            f"the frozen layers' outputs need {size / GIGA:.1f} GB in {folder}: "
            f"{free / GIGA:.1f} GB are free and VITRINE_CACHE_GB allows {limit / GIGA:.1f}; make "
            "room, raise the limit, or set the recipe's cache to bf16 or none."
        )


def _channels_last(tensor: Tensor) -> Tensor:
    """Move the channels to the end, the memory layout in which CPU convolutions are fast."""
    return tensor.movedim(1, -1) if tensor.ndim == 4 else tensor  # noqa: PLR2004


def _channels_first(tensor: Tensor) -> Tensor:
    """Move the channels back; the inverse of `_channels_last`."""
    return tensor.movedim(-1, 1) if tensor.ndim == 4 else tensor  # noqa: PLR2004
