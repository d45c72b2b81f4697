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
from rich.console import Console
from sklearn.svm import SVC
from torch import Tensor, nn

from artifacts.figure_style import add_legend, bar_style
from training.data import Splits
from training.frozen_prefix.cache import CachedSource, frozen_sources
from training.frozen_prefix.cut import cut
from training.history import SPLITS
from training.inputs import Pictures
from training.networks import Classifier
from training.plots import new_figure, png
from training.recipe import Recipe, RecipeError

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class KernelResult:
    """The result of one kernel."""

    kernel: str
    train_accuracy: float
    validation_accuracy: float
    support_vectors: int
    seconds: float
    """Time to fit it."""


class SvmHead(nn.Module):
    """A fitted one-against-one support-vector machine as tensor operations.

    It ranks classes like scikit-learn's one-against-rest decision function: by pairwise votes, with
    ties broken by the sum of margins. A logit is -log(1 + d), where d is the score of the best
    class minus that of the class. The scores themselves would make poor logits: they fall by about
    one from rank to rank however certain the machine is, so that their softmax spreads over tens
    of classes at any temperature.

    Args:
        machine: Machine fitted on standardised features.
        mean: D, subtracted from the features.
        std: D, by which they are then divided.
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
        self.gamma = float(machine._gamma)  # noqa: SLF001  the only place with the value of "scale"
        self.degree, self.offset = int(machine.degree), float(machine.coef0)
        counts = machine.n_support_
        classes, most = len(counts), int(counts.max())
        ends = np.cumsum(counts)
        # row numbers of the support vectors per class, padded with a row past the end of kernel 0
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
        """Map features N x D to logits N x C."""
        kernel = self._kernel((features - self.mean) / self.std)  # (N, V)
        kernel = torch.cat([kernel, torch.zeros_like(kernel[:, :1])], 1)
        by_class = kernel[:, self.places].view(-1, *self.weights.shape[:2])  # (N, C, M)
        # the contribution of each class's support vectors to its contest with each other class
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
) -> tuple[Classifier, list[KernelResult]]:
    """Fit every kernel of the recipe and use the one that is best on validation pictures.

    Args:
        network: Network with a frozen trunk, whose head is replaced.
        splits: Training and validation pictures.
        recipe: The settings.
        accelerator: Device and precision of the trunk.

    Returns:
        The network to export, on the CPU, and a row per kernel.

    Raises:
        RecipeError: There are fewer than three classes, a class has no training picture, or the
            trunk is not entirely frozen.
    """
    assert recipe.svm is not None  # noqa: S101
    if len(splits.classes) < 3 or any(w.requires_grad for w in network.trunk.parameters()):  # noqa: PLR2004
        raise RecipeError(
            f"{recipe.name}: a support-vector machine needs at least three classes and a trunk "
            "that is entirely frozen; set network.options.train to head."
        )
    empty = len(splits.classes) - len(torch.unique(splits.train.labels))
    if empty:
        raise RecipeError(
            f"{recipe.name}: {empty} of {len(splits.classes)} classes have no training picture, "
            "and a support-vector machine cannot tell them; raise data.limit."
        )
    network.to(accelerator.device).to(memory_format=torch.channels_last)
    network.eval()
    images = Pictures(splits.validation, recipe, accelerator.device)
    prefix, _ = cut(network, images.plain(torch.arange(2))[0])
    train, validation = (_features(s) for s in frozen_sources(prefix, splits, recipe, accelerator))
    mean, std = train[0].mean(0), train[0].std(0) + np.float32(1e-6)
    kernels: list[KernelResult] = []
    for kernel in recipe.svm.kernels:
        start = time.perf_counter()
        machine = SVC(C=recipe.svm.c, kernel=kernel, decision_function_shape="ovr")
        machine.fit((train[0] - mean) / std, train[1])
        seconds = round(time.perf_counter() - start, 2)
        head = SvmHead(machine, mean, std)
        train_accuracy, validation_accuracy = (
            _accuracy(head, *split) for split in (train, validation)
        )
        if not kernels or validation_accuracy > max(row.validation_accuracy for row in kernels):
            network.head = head
        kernels.append(
            KernelResult(
                kernel, train_accuracy, validation_accuracy, len(machine.support_), seconds
            )
        )
        console.print(f"{recipe.artifact_name}: {kernels[-1]}")
    return network.cpu().eval(), kernels


def kernels_csv(kernels: Sequence[KernelResult]) -> bytes:
    """Return one row per kernel; the columns are the fields of `KernelResult`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(KernelResult)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in kernels)
    return text.getvalue().encode()


def kernels_plot(kernels: Sequence[KernelResult], title: str, origin: str) -> bytes:
    """Plot the training and validation accuracy of each kernel; returns a PNG."""
    figure = new_figure(title, origin, width=7, height=3.6)
    axes = figure.subplots()
    for number, (split, words) in enumerate(SPLITS.items()):
        values = [getattr(row, f"{split}_accuracy") for row in kernels]
        places = [place + 0.4 * number - 0.2 for place in range(len(kernels))]
        bars = axes.bar(places, values, 0.4, label=words, **bar_style(number))
        axes.bar_label(bars, fmt="%.3f")
    axes.set_xticks(range(len(kernels)), [row.kernel for row in kernels])
    axes.set(xlabel="kernel", ylabel="accuracy (0 to 1)", ylim=(0, 1.1))
    add_legend(figure, axes)
    return png(figure)


def _features(source: CachedSource) -> tuple[Features, Labels]:
    """Return the features, float32 N x D, and the labels of a whole split."""
    (values,) = source.plain(torch.arange(len(source.labels)))
    return values.float().cpu().numpy(), source.labels.numpy()


@torch.no_grad()
def _accuracy(head: SvmHead, features: Features, labels: Labels) -> float:
    chunks = torch.split(torch.from_numpy(features), 256)
    found = torch.cat([head(chunk).argmax(1) for chunk in chunks])
    return round(float((found.numpy() == labels).mean()), 6)
