"""The candidates that `vitrine train PICTURES` compares: how much of a network is trained.

Each candidate is an ordinary recipe, built in code. All of them share the data set, the network and
the size of the pictures, and differ in what is trained and how.
"""

import math
from dataclasses import dataclass, replace

import timm
import torch
from torch.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d

from training.networks.backbone import backbone
from training.networks.weights import PACKAGES
from training.pictures.plan import Part
from training.recipe import Recipe, RecipeError
from training.settings import Augment, Data, Evaluation, Loss, Network, Optimizer, Size

DEFAULT_MODEL = "tf_efficientnet_lite0"
BATCH = 32
AVERAGED = 10
"""The weights are averaged over the last of so many equal parts of the steps, exponentially."""
BATCH_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d)
PARTS: tuple[Part, ...] = ("head", "last-stage", "all")
TITLES: dict[Part, str] = {
    "head": "a linear head on frozen layers",
    "last-stage": "the last stage and the head",
    "all": "all layers",
}


@dataclass(frozen=True)
class Task:
    """What all candidates of a run have in common."""

    name: str
    """Name of the model."""
    title: str
    data: str
    """Name of the data set, such as table/PATH."""
    model: str
    """timm's name of the network."""
    weights: str
    """See `training.networks.weights.load_weights`."""
    size: Size
    """(height, width) in px to which every picture is resized, in training and in serving."""
    flip: bool
    """Whether mirrored pictures show the same class."""
    pictures: int
    """Number of training pictures."""
    seed: int
    route: str | None
    command: str
    multi_label: bool = False
    """Whether a picture may have several labels or none."""


def default_weights(model: str) -> str:
    """Return `package` for a network whose weights are installed, else `imagenet`."""
    return "package" if model in PACKAGES else "imagenet"


def check_model(model: str) -> None:
    """Check that timm knows a network.

    Raises:
        RecipeError: It does not.
    """
    if not timm.is_model(model):
        raise RecipeError(
            f"timm has no network {model!r}; `timm.list_models()` in Python lists those that "
            f"--model accepts. Those whose weights are installed: {', '.join(PACKAGES)}."
        )


def required_size(model: str) -> Size | None:
    """Return the only (height, width) that a network takes, in px; None if it takes any."""
    settings = timm.get_pretrained_cfg(model)
    if settings is None or not settings.fixed_input_size:
        return None
    _, height, width = settings.input_size
    return height, width


def candidate(task: Task, part: Part, epochs: int) -> Recipe:
    """Return the recipe that trains one part of the network.

    Args:
        task: What the candidates have in common.
        part: What is trained besides the head.
        epochs: Number of epochs; the head alone is solved exactly, so that it has one.
    """
    mean, std = _normalisation(task.model, task.weights)
    recipe = Recipe(
        name=task.name,
        title=task.title,
        data=Data(name=task.data, validation=0, size=task.size, mean=mean, std=std),
        network=Network(
            "backbone",
            {
                "model": task.model,
                "weights": task.weights,
                "train": _trained(task.model, part),
                "dropout": 0.2,
            },
        ),
        epochs=epochs,
        batch_size=BATCH,
        route=task.route,
        seed=task.seed,
        fixed_size=task.size,
        augment=Augment(flip="random" if task.flip else "none"),
        loss=Loss("bce") if task.multi_label else Loss(),
        evaluation=Evaluation(smoothed_temperature=True),
        profile="full",
        command=task.command,
    )
    if part == "head":
        return recipe
    steps = max(2 * AVERAGED, epochs * math.ceil(task.pictures / BATCH))
    optimizer = Optimizer(
        name="adamw",
        lr=1e-3,
        trunk_share=0.5,
        weight_decay=0.02,
        schedule="cosine",
        warmup=0.2,
        ema=1 - AVERAGED / steps,
    )
    loss = recipe.loss if task.multi_label else Loss(label_smoothing=0.1)
    recipe = replace(recipe, optimizer=optimizer, loss=loss, precision="bf16")
    if part == "last-stage":
        return replace(recipe, cache="bf16")  # which allows no augmentation other than flips
    augment = replace(recipe.augment, jitter=0.2, rotate=8, shift=0.05, scale=(0.9, 1.15))
    return replace(recipe, augment=augment)


def _trained(model: str, part: Part) -> str | list[str]:
    """Return the setting `train` of the network.

    Batch normalisation stays as it is, because few pictures change its statistics too much: with
    that, fine-tuning on some hundreds of pictures can be worse than a head on frozen layers.
    """
    if part == "head":
        return part
    with torch.device("meta"):  # the names of the modules only
        trunk, _ = backbone(model, train=part)
    modules = dict(trunk.get_submodule("model").named_modules())
    chosen = {
        name: module
        for name, module in modules.items()
        if any(weight.requires_grad for weight in module.parameters(recurse=False))
    }
    kept = [name for name, module in chosen.items() if not isinstance(module, BATCH_NORMS)]
    return part if len(kept) == len(chosen) or "" in kept else kept


def _normalisation(
    model: str, weights: str
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and std per channel of the pictures that the weights were trained with."""
    if weights == "package":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    settings = timm.get_pretrained_cfg(model)
    if settings is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    (red, green, blue), (red_std, green_std, blue_std) = settings.mean, settings.std
    return (red, green, blue), (red_std, green_std, blue_std)
