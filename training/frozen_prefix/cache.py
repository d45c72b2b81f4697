"""What the frozen prefix of a network makes of every picture, computed once and kept on disk."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator
from filelock import FileLock
from rich.progress import track
from torch import Tensor, fx

from artifacts import DataError
from training.augment import flips
from training.data import CACHE, Splits
from training.inputs import Inputs, Pictures
from training.recipe import Recipe, RecipeError
from training.settings import Augment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEFAULT_LIMIT = 100.0
GIGA = 10**9


class Cached:
    """Boundary tensors of a frozen prefix, read from a memory-mapped file on disk.

    A row of the file holds all boundary tensors of one picture; where the recipe mirrors, a second
    block of rows holds those of the mirrored pictures.

    Args:
        prefix: images N x 3 x H x W -> tuple of boundary tensors N x ...
        pictures: what goes through it.
        content: names the pictures: data set, hash and split.
        mirrors: whether mirrored pictures will be asked for.
        accelerator: device and precision of the prefix.

    Raises:
        DataError: the disk, or the limit `VITRINE_CACHE_GB`, is too small.
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
        self.states = [pictures.plain, pictures.mirrored] if mirrors else [pictures.plain]
        first = self._run(pictures.plain(torch.zeros(1, dtype=torch.long)))
        self.shapes = [_last(tensor).shape[1:] for tensor in first]
        self.dtypes = [tensor.dtype for tensor in first]
        self.table = self._filled(CACHE / f"prefix-{self._key(content)}.bin")

    def training(
        self, indices: Tensor, generator: torch.Generator, epoch: int
    ) -> tuple[Inputs, Tensor]:
        """As `Source`."""
        mirrored = flips(indices, self.recipe, generator, epoch)
        block = 0 if mirrored is None else mirrored.long() * len(self.labels)
        targets = self.labels[indices]
        return self._rows(indices + block), targets.to(self.accelerator.device)

    def plain(self, indices: Tensor) -> Inputs:
        """As `Source`."""
        return self._rows(indices)

    def _rows(self, rows: Tensor) -> Inputs:
        values = self.table[rows].to(self.accelerator.device)  # (N, F)
        parts = torch.split(values, [shape.numel() for shape in self.shapes], 1)
        found = zip(parts, self.shapes, self.dtypes, strict=True)
        return tuple(_first(p.view(-1, *shape)).to(dtype) for p, shape, dtype in found)

    @torch.no_grad()
    def _run(self, inputs: Inputs) -> Inputs:
        with self.accelerator.autocast():
            boundary: Inputs = self.prefix(*inputs)
        return boundary

    def _filled(self, path: Path) -> Tensor:
        """The table on disk, computed by the first process that wants it."""
        dtype = DTYPES[self.recipe.cache]
        count = len(self.labels)
        shape = (count * len(self.states), sum(s.numel() for s in self.shapes))
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # other processes wait for the first one's
            if path.exists():
                os.utime(path)  # the least recently used is the first to go
            else:
                partial = path.with_suffix(".partial")
                _make_room(path.parent, shape[0] * shape[1] * dtype.itemsize)
                self._fill(_mapped(partial, shape, dtype, shared=True))
                partial.rename(path)
        return _mapped(path, shape, dtype, shared=False)

    def _fill(self, table: Tensor) -> None:
        count = len(self.labels)
        name = f"{self.recipe.artifact_name}: computing the frozen layers once"
        for block, state in enumerate(self.states):
            for rows in track(
                torch.split(torch.arange(count), self.batch_size), name, transient=True
            ):
                boundary = self._run(state(rows))
                flat = torch.cat([_last(tensor).flatten(1) for tensor in boundary], 1)
                table[rows + block * count] = flat.to("cpu", table.dtype)

    def _key(self, content: str) -> str:
        """sha256 over all that decides what is in the table, shortened."""
        recipe = self.recipe
        settings = (content, asdict(recipe.data), recipe.seed, recipe.policy.model_dump())
        numbers = (recipe.cache, recipe.precision, len(self.states), self.accelerator.device.type)
        code = (torch.__version__, version("timm"), self.prefix.code)
        digest = hashlib.sha256(json.dumps([settings, numbers, code]).encode())
        for name, weight in self.prefix.state_dict().items():
            digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def frozen_sources(
    prefix: fx.GraphModule, splits: Splits, recipe: Recipe, accelerator: Accelerator
) -> tuple[Cached, Cached]:
    """Training and validation split behind a frozen prefix.

    Raises:
        RecipeError: an augmentation that is not a flip, which no finite number of states covers.
        DataError: as `Cached`.
    """
    if replace(recipe.augment, flip="none") != Augment():
        raise RecipeError(
            f"{recipe.name}: the cache of a frozen prefix allows flips and no other augmentation; "
            "set `cache: none` or remove the others."
        )
    found = []
    for name, split in (("train", splits.train), ("validation", splits.validation)):
        pictures = Pictures(split, recipe, accelerator.device)
        content = f"{splits.source.name} {splits.source.fingerprint} {name}"
        mirrors = name == "train" and recipe.augment.flip != "none"
        found.append(Cached(prefix, pictures, content, mirrors=mirrors, accelerator=accelerator))
    return found[0], found[1]


def _mapped(path: Path, shape: tuple[int, int], dtype: torch.dtype, *, shared: bool) -> Tensor:
    count = shape[0] * shape[1]
    flat = torch.from_file(str(path), shared=shared, size=count, dtype=dtype)
    return flat.view(shape)


def _make_room(folder: Path, size: int) -> None:
    """Remove the tables longest unused until `size` more bytes keep within the limit.

    Raises:
        DataError: limit or disk is too small.
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


def _last(tensor: Tensor) -> Tensor:
    """Channels to the end, as convolutions on the CPU like them in memory."""
    return tensor.movedim(1, -1) if tensor.ndim == 4 else tensor  # noqa: PLR2004


def _first(tensor: Tensor) -> Tensor:
    """The inverse of `_last`."""
    return tensor.movedim(-1, 1) if tensor.ndim == 4 else tensor  # noqa: PLR2004
