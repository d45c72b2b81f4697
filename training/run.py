"""From a recipe to an artifact, and whether an artifact still is what its recipe makes."""

import contextlib
import ctypes
import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from filelock import FileLock, Timeout
from onnx import numpy_helper
from rich.console import Console

from artifacts import Artifact, ArtifactError, DataError
from artifacts.artifact import MODEL_FILE, artifact_names
from artifacts.datasets import load
from artifacts.graph import load_graph
from training.data import Splits, load_splits
from training.half_precision import SUFFIX
from training.inputs import normalise
from training.loop import fit
from training.networks import Classifier, build, code_hash
from training.publish import publish
from training.recipe import Recipe, RecipeError, load_recipe
from training.svm import Tried, fit_svm

RUNS = Path("runs")
INITIAL_PICTURES = 5000
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
"""Names of settings in glibc's malloc.h."""
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Status:
    """Whether an artifact is what its recipe would make now, and why not."""

    current: bool
    reason: str


def status(recipe: Recipe) -> Status:
    """Compare the artifact on disk with recipe, network code and data."""
    try:
        manifest = Artifact.open(recipe.artifact_name).manifest
    except ArtifactError as error:
        known = recipe.artifact_name in artifact_names()
        return Status(current=False, reason=str(error) if known else "missing")
    record, data, now = manifest.recipe, manifest.dataset, _fingerprint(recipe.data.name)
    if record is None or data is None or record.hash != recipe.hash:
        return Status(current=False, reason="the recipe changed")
    if record.code != code_hash(recipe.network):
        return Status(current=False, reason="the network's code changed")
    if now is None:
        return Status(current=True, reason="up to date (data not at hand to compare)")
    changed = data.fingerprint != now
    return Status(current=not changed, reason="the data changed" if changed else "up to date")


@functools.cache
def _fingerprint(dataset: str) -> str | None:
    try:
        return load(dataset, "train").fingerprint
    except DataError:
        return None


def run(recipe: Recipe) -> Artifact | None:
    """Train a recipe and write its artifact; an interrupted run is continued.

    Under `accelerate launch` every process trains and the first one writes; the others get None.

    Raises:
        VitrineError: data or settings that do not work, or an export that is not equal.
    """
    start = _start(recipe)
    accelerator = make_accelerator(recipe)
    folder = RUNS / recipe.artifact_name
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, recipe) if accelerator.is_main_process else contextlib.nullcontext():
        splits = load_splits(recipe.data, recipe.seed)
        network = first_network(recipe, splits)
        if start is not None:
            adopt_head(network, start)
        if recipe.svm is None:
            trained, history = fit(network, splits, recipe, folder, accelerator)
            tried: list[Tried] = []
        else:
            trained, tried = fit_svm(network, splits, recipe, accelerator)
            history = []
        if not accelerator.is_main_process:
            return None
        console.print(f"{recipe.artifact_name}: exporting, and measuring through the graph")
        artifact = publish(recipe, trained, splits, history, tried)
    shutil.rmtree(folder)  # its checkpoint has become the artifact
    return artifact


def first_network(recipe: Recipe, splits: Splits) -> Classifier:
    """The network that training starts from; the same at every call."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, len(splits.classes))
    network.initialise(normalise(splits.train.images[:INITIAL_PICTURES], recipe))
    return network


def _start(recipe: Recipe) -> Artifact | None:
    """The artifact whose head the recipe starts from, trained first where it is missing."""
    if recipe.head_from is None:
        return None
    before = load_recipe(recipe.head_from, recipe.profile)
    if before.artifact_name not in artifact_names():
        console.print(f"{recipe.artifact_name} starts from {before.artifact_name}: training that")
        run(before)
        PartialState().wait_for_everyone()  # the first process alone writes it
    return Artifact.open(before.artifact_name)


def adopt_head(network: Classifier, artifact: Artifact) -> None:
    """Copy the head of an artifact's graph into a network.

    Raises:
        RecipeError: its head is of another shape.
    """
    graph = load_graph(artifact.path / MODEL_FILE).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    for key, weight in network.head.state_dict().items():
        tensor = held.get(f"network.head.{key}") or held.get(f"network.head.{key}{SUFFIX}")
        if tensor is None or list(tensor.dims) != list(weight.shape):
            raise RecipeError(
                f"{artifact.manifest.name} has no head weight {key!r} of shape "
                f"{tuple(weight.shape)}; head_from needs a recipe with the same head and classes."
            )
        weight.copy_(torch.from_numpy(numpy_helper.to_array(tensor).copy()))


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Device, precision and processes for a recipe.

    Raises:
        RecipeError: fp16 without a GPU.
    """
    AcceleratorState._reset_state()  # noqa: SLF001  it holds a process to its first precision
    if torch.cuda.is_available():
        return Accelerator(mixed_precision=recipe.precision)
    if recipe.precision == "fp16":
        raise RecipeError(f"{recipe.name}: fp16 needs a GPU; set precision to bf16 or no.")
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=True)
    if accelerator.is_main_process:
        console.print("[yellow]no GPU found: training on the CPU[/yellow]")
    _keep_freed_memory()
    return accelerator


def _keep_freed_memory() -> None:
    """Tell glibc to keep what is freed instead of handing it back to the kernel.

    A step takes and frees the same gigabytes; faulting their pages in anew costs a fifth of it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def _alone(folder: Path, recipe: Recipe) -> Iterator[None]:
    try:
        with FileLock(folder / "lock", blocking=False):
            yield
    except Timeout:
        raise RecipeError(
            f"{recipe.artifact_name} is being trained by another process; wait for it or end it."
        ) from None
