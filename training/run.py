"""Trains recipes into artifacts."""

import contextlib
import ctypes
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from filelock import FileLock, Timeout
from rich.console import Console

from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.distribution import artifacts_root, check_writable
from artifacts.graph import load_graph
from artifacts.names import artifact_names
from artifacts.progress import Progress
from training.augment import rescale_as_served
from training.continued import copy_network
from training.data import Splits, load_or_download, load_splits, load_test
from training.device import say_device, say_float32, used_precision
from training.faces.teacher import with_teacher
from training.finished import RETRY, Finished, saying_how_to_publish
from training.half_precision import stored_weights
from training.inputs import normalise
from training.loop import fit
from training.multi_label import check_labels
from training.networks import Classifier, build
from training.overrides import parent_recipe
from training.publish import publish
from training.recipe import Recipe, RecipeError
from training.run_state import CHECKPOINT, FINISHED, RUNS
from training.status import status
from training.svm import KernelResult, fit_svm
from training.tracking import LOGS, finish_tracking, start_tracking
from training.views import with_views

INITIAL_PICTURES = 5000
"""Maximum number of training pictures from which the first weights of a network are computed."""
MEASURED_PICTURES = 1000
"""Maximum number of training pictures on which the batch normalisation of a network is measured
whose training is continued."""
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
"""Parameters of mallopt in glibc's malloc.h."""
console = Console(stderr=True, highlight=False)


def run(recipe: Recipe, trackers: Sequence[str] = ()) -> Artifact | None:
    """Train a recipe and write its artifact; an interrupted run continues where it stopped.

    Under `accelerate launch` every process trains, the first one writes the artifact, and the
    others return None.

    Args:
        recipe: What to train.
        trackers: Names of trackers of accelerate that are told of it; see `training.tracking`.

    Raises:
        VitrineError: The data or the settings are unusable, the folder of artifacts is not written
            to, or training diverged.
        PublishError: It is trained, and something after that failed; see `training.finished`.
    """
    check_writable(artifacts_root())
    source = _source(recipe)
    accelerator = make_accelerator(recipe, trackers)
    folder = RUNS / recipe.artifact_name
    folder.mkdir(parents=True, exist_ok=True)
    first = accelerator.is_main_process
    with (
        exclusive(folder, recipe.artifact_name) if first else contextlib.nullcontext(),
        saying_how_to_continue(folder, recipe.artifact_name) if first else contextlib.nullcontext(),
    ):
        splits = load_splits(recipe.data, recipe.seed)
        check_labels(splits.source, recipe)
        # publish measures on the test split; say now, rather than after training, if it cannot
        load_test(recipe.data.name, splits.classes, strangers=recipe.loss.embeds)
        network = initial_network(recipe, splits)
        if source is not None:
            _copy(network, source, splits, recipe)
        if first:
            (folder / FINISHED).unlink(missing_ok=True)  # it may be of other settings
        start_tracking(accelerator, recipe)
        if recipe.svm is None:
            lessons = (with_views if recipe.loss.views else with_teacher)(splits, recipe)
            trained, history = fit(network, lessons, recipe, folder, accelerator)
            kernels: list[KernelResult] = []
        else:
            trained, kernels = fit_svm(network, splits, recipe, accelerator)
            history = []
        if not first:
            return None
        finished = Finished(recipe, trained, history, accelerator.mixed_precision, kernels)
        finished.save(folder, splits)
        accelerator.free_memory()  # measuring needs the memory of the card
        artifact = write_artifact(folder, finished, splits)
        finish_tracking(accelerator, artifact, splits)
        return artifact


def write_artifact(folder: Path, finished: Finished, splits: Splits) -> Artifact:
    """Publish a finished run and remove its folder, which stays if that fails.

    Raises:
        PublishError: Something failed; the message names the command that repeats it.
    """
    name = finished.recipe.artifact_name
    with saying_how_to_publish(name), Progress(name, console=console) as report:
        artifact = publish(finished, splits, report)
    shutil.rmtree(folder)  # the artifact replaces the checkpoint
    return artifact


def initial_network(recipe: Recipe, splits: Splits) -> Classifier:
    """Build and initialise the network of a recipe, with the same weights at every call."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, len(splits.classes))
    network.initialise(normalise(splits.train.images[:INITIAL_PICTURES], recipe))
    return network


def _source(recipe: Recipe) -> Artifact | None:
    """Open the artifact that the recipe starts from, after training it if it is missing.

    Raises:
        RecipeError: The heads differ in shape.
    """
    source = parent_recipe(recipe)
    if source is None:
        return None
    own_data = source.name != recipe.parent
    if source.artifact_name not in artifact_names() or (own_data and not status(source).current):
        _compare_heads(recipe, source)
        console.print(
            f"{recipe.artifact_name} starts from {source.artifact_name}: training it first"
        )
        run(source)
        PartialState().wait_for_everyone()  # only the first process writes it
    return Artifact.open(source.artifact_name)


def _copy(network: Classifier, source: Artifact, splits: Splits, recipe: Recipe) -> None:
    """Copy the weights that a recipe starts from: a whole network, or a head.

    Raises:
        RecipeError: The networks or the heads differ in shape.
    """
    if recipe.continue_from is None:
        copy_head(network, source)
        return
    step = -(-len(splits.train) // MEASURED_PICTURES)  # data sets are in order of classes
    images = rescale_as_served(splits.train.images[::step], recipe.policy)
    copy_network(network, source, normalise(images, recipe))


def _compare_heads(recipe: Recipe, source: Recipe) -> None:
    """Raise RecipeError if the networks of two recipes have heads of different shapes."""
    classes = len(load_or_download(recipe.data.name, "train").classes)
    with torch.device("meta"):  # shapes only
        ours, theirs = (build(r.network, classes).head.state_dict() for r in (recipe, source))
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        setting = "continue_from" if recipe.continue_from else "head_from"
        raise RecipeError(
            f"{recipe.name} cannot start from the head of {source.name}, whose shape differs; set "
            f"{setting} to a recipe with the same head, or to null."
        )


def copy_head(network: Classifier, artifact: Artifact) -> None:
    """Copy the head of an artifact's graph into a network.

    Raises:
        RecipeError: The heads differ in shape.
    """
    stored = stored_weights(load_graph(artifact.path / MODEL_FILE))
    for key, weight in network.head.state_dict().items():
        value = stored.get(f"network.head.{key}")
        if value is None or value.shape != tuple(weight.shape):
            raise RecipeError(
                f"{artifact.manifest.name} has no head weight {key!r} of shape "
                f"{tuple(weight.shape)}; head_from needs a recipe with the same head and classes."
            )
        weight.copy_(torch.from_numpy(value.copy()))


def make_accelerator(recipe: Recipe, trackers: Sequence[str] = ()) -> Accelerator:
    """Set up device, precision, processes and trackers for a recipe.

    Raises:
        RecipeError: The precision is fp16 and there is no GPU.
    """
    AcceleratorState._reset_state()  # noqa: SLF001  else the first precision would stay
    logs = LOGS / recipe.artifact_name
    tracking: dict[str, Any] = {"log_with": [*trackers], "project_dir": logs} if trackers else {}
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True  # a training has few sizes of pictures
        return Accelerator(mixed_precision=recipe.precision, **tracking)
    if recipe.precision == "fp16":
        raise RecipeError(f"{recipe.name}: fp16 needs a GPU; set precision to bf16 or no.")
    precision = used_precision(recipe.precision)
    accelerator = Accelerator(mixed_precision=precision, cpu=True, **tracking)
    if accelerator.is_main_process:
        say_device(console)
        if precision != recipe.precision:
            say_float32(console)
    _keep_freed_memory()
    return accelerator


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the kernel.

    Each step allocates and frees the same gigabytes; faulting their pages in again takes a fifth of
    the step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def saying_how_to_continue(folder: Path, name: str) -> Iterator[None]:
    """Say how an interrupted run can be continued, if it has a checkpoint or is trained."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if (folder / FINISHED).exists():
            how = RETRY.format(name=name)
        elif (folder / CHECKPOINT).exists():
            how = f"the same command continues from the checkpoint in {folder}."
        else:
            raise
        console.print(f"{name}: stopped; {how[0].lower()}{how[1:]}", soft_wrap=True)
        raise


@contextlib.contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Refuse to work on a run that another process works on.

    Raises:
        RecipeError: Another process does.
    """
    try:
        with FileLock(folder / "lock", blocking=False):
            yield
    except Timeout:
        raise RecipeError(
            f"{name} is being trained by another process; wait for that process or end it."
        ) from None
