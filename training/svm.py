"""Support-vector machines on the features of a frozen trunk, as the head of a network."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from rich.console import Console
from sklearn.svm import SVC
from torch import Tensor, nn

from training.data import Splits
from training.frozen_prefix.cache import Cached, frozen_sources
from training.frozen_prefix.cut import cut
from training.history import png
from training.inputs import Pictures
from training.networks import Classifier
from training.recipe import Recipe, RecipeError

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Tried:
    """One kernel's result."""

    kernel: str
    train_accuracy: float
    validation_accuracy: float
    support_vectors: int
    seconds: float
    """To fit it."""


class SvmHead(nn.Module):
    """A fitted one-against-one machine with standardised inputs, as tensor operations.

    It ranks classes as scikit-learn's one-against-rest decision function does: pairwise votes,
    ties broken by the sum of margins. A logit is -log(1 + votes behind the first): votes themselves
    fall by about one a rank however sure the machine is, and a softmax of them at any
    temperature spreads over tens of classes.

    Args:
        machine: fitted on standardised features.
        mean: D, subtracted from features.
        std: D, divided by.
    """

    mean: Tensor
    std: Tensor
    vectors: Tensor
    places: Tensor
    weights: Tensor
    signs: Tensor
    shifts: Tensor

    def __init__(self, machine: SVC, mean: Features, std: Features) -> None:
        super().__init__()
        self.kernel: str = machine.kernel
        self.gamma = float(machine._gamma)  # noqa: SLF001  what "scale" came to is kept here alone
        self.degree, self.offset = int(machine.degree), float(machine.coef0)
        counts = machine.n_support_
        classes, most = len(counts), int(counts.max())
        ends = np.cumsum(counts)
        # where the vectors of each class lie; the row past the end holds a kernel of 0
        places = np.full((classes, most), len(machine.support_))
        weights = np.zeros((classes, most, classes), np.float32)
        for c, (end, count) in enumerate(zip(ends, counts, strict=True)):
            places[c, :count] = np.arange(end - count, end)
            others = [other for other in range(classes) if other != c]
            weights[c, :count, others] = machine.dual_coef_[:, end - count : end]
        shifts = np.zeros((classes, classes), np.float32)
        shifts[np.triu_indices(classes, 1)] = machine.intercept_
        signs = np.triu(np.ones((classes, classes), np.float32), 1)
        for name, value in {
            "mean": mean,
            "std": std,
            "vectors": machine.support_vectors_.astype(np.float32),
            "places": places.ravel(),
            "weights": weights,
            "shifts": shifts + shifts.T,
            "signs": signs - signs.T,
        }.items():
            self.register_buffer(name, torch.from_numpy(value))

    def forward(self, features: Tensor) -> Tensor:
        """N x D -> N x C."""
        kernel = self._kernel((features - self.mean) / self.std)  # (N, V)
        kernel = torch.cat([kernel, torch.zeros_like(kernel[:, :1])], 1)
        by_class = kernel[:, self.places].view(-1, *self.weights.shape[:2])  # (N, C, M)
        # what the vectors of each class say in its contest with each other class
        parts = (by_class[:, :, None] @ self.weights).squeeze(2)  # (N, C, C)
        margins = self.signs * (parts + parts.transpose(1, 2) + self.shifts)
        votes = (margins > 0).float().sum(2)  # (N, C)
        sums = margins.sum(2)
        scores = votes + sums / (3 * (sums.abs() + 1))
        return -torch.log1p(scores.amax(1, keepdim=True) - scores)

    def _kernel(self, x: Tensor) -> Tensor:
        products = x @ self.vectors.T  # (N, V)
        if self.kernel == "linear":
            return products
        if self.kernel == "poly":
            return (self.gamma * products + self.offset).pow(self.degree)
        if self.kernel == "sigmoid":
            return (self.gamma * products + self.offset).tanh()
        squares = x.square().sum(1, keepdim=True) + self.vectors.square().sum(1)
        return (-self.gamma * (squares - 2 * products)).exp()


def fit_svm(
    network: Classifier, splits: Splits, recipe: Recipe, accelerator: Accelerator
) -> tuple[Classifier, list[Tried]]:
    """Fit every kernel that the recipe names, and put the best on validation pictures to use.

    Args:
        network: its trunk is frozen; its head is replaced.
        splits: training and validation pictures.
        recipe: settings.
        accelerator: device and precision of the trunk.

    Returns:
        The network to export, on the CPU, and a row per kernel.

    Raises:
        RecipeError: there are fewer than three classes, or the trunk is not frozen whole.
    """
    assert recipe.svm is not None  # noqa: S101
    if len(splits.classes) < 3 or any(w.requires_grad for w in network.trunk.parameters()):  # noqa: PLR2004
        raise RecipeError(
            f"{recipe.name}: a machine needs three classes and a trunk that is frozen whole; set "
            "network.options.train to head."
        )
    network.to(accelerator.device).to(memory_format=torch.channels_last)
    network.eval()
    images = Pictures(splits.validation, recipe, accelerator.device)
    prefix, _ = cut(network, images.plain(torch.arange(2))[0])
    train, validation = (_features(s) for s in frozen_sources(prefix, splits, recipe, accelerator))
    mean, std = train[0].mean(0), train[0].std(0) + np.float32(1e-6)
    tried: list[Tried] = []
    for kernel in recipe.svm.kernels:
        start = time.perf_counter()
        machine = SVC(C=recipe.svm.c, kernel=kernel, decision_function_shape="ovr")
        machine.fit((train[0] - mean) / std, train[1])
        seconds = round(time.perf_counter() - start, 2)
        head = SvmHead(machine, mean, std)
        ours, theirs = (_accuracy(head, *split) for split in (train, validation))
        if not tried or theirs > max(row.validation_accuracy for row in tried):
            network.head = head
        tried.append(Tried(kernel, ours, theirs, len(machine.support_), seconds))
        console.print(f"{recipe.artifact_name}: {tried[-1]}")
    return network.cpu().eval(), tried


def kernels_csv(tried: Sequence[Tried]) -> bytes:
    """One row per kernel, columns as `Tried` names them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Tried)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in tried)
    return text.getvalue().encode()


def kernels_plot(tried: Sequence[Tried], title: str) -> bytes:
    """PNG: accuracy of each kernel, training and validation."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for shift, split, colour in ((-0.2, "train", "#0072B2"), (0.2, "validation", "#D55E00")):
        values = [getattr(row, f"{split}_accuracy") for row in tried]
        places = [place + shift for place in range(len(tried))]
        bars = axes.bar(places, values, 0.4, color=colour, label=split)
        axes.bar_label(bars, fmt="%.3f")
    axes.set_xticks(range(len(tried)), [row.kernel for row in tried])
    axes.set(ylabel="accuracy", ylim=(0, 1.1), title=title)
    axes.legend(frameon=False)
    return png(figure)


def _features(source: Cached) -> tuple[Features, Labels]:
    """Features float32 N x D and labels of a whole split."""
    (values,) = source.plain(torch.arange(len(source.labels)))
    return values.float().cpu().numpy(), source.labels.numpy()


@torch.no_grad()
def _accuracy(head: SvmHead, features: Features, labels: Labels) -> float:
    chunks = torch.split(torch.from_numpy(features), 256)
    found = torch.cat([head(chunk).argmax(1) for chunk in chunks])
    return round(float((found.numpy() == labels).mean()), 6)
