"""Metrics measured through the exported graph, as a user of the server would get them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from artifacts import InputPolicy, Runtime
from artifacts.calibration import BINS
from artifacts.manifest import Metric
from artifacts.preprocessing import prepare
from artifacts.runtime import in_chunks
from training.augment import parse_size

MANY_CLASSES = 10
"""Number of classes above which top-5 accuracy is measured."""

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]


def fit_temperature(logits: Logits, labels: Labels, *, smoothed: bool = False) -> float:
    """Find the temperature that minimises the loss (Guo et al. 2017, arXiv 1706.04599).

    Args:
        logits: N x C, of validation pictures.
        labels: N class numbers, for which the loss is the cross-entropy; or N x C of 0 and 1, for
            which it is the binary cross-entropy of multi-label models.
        smoothed: Whether, if every picture is classified correctly, the target gives all wrong
            classes together a probability of 1 / (N + 2), which is Laplace's estimate of the error
            rate if no error was seen; the loss has no minimum otherwise. In a multi-label model,
            each class is wrong with that probability.

    Returns:
        The divisor of the logits, clamped to 0.05..20.
    """
    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    multi_label = truth.ndim > 1
    count, classes = logits.shape
    correct = (scores > 0) == (truth > 0) if multi_label else scores.argmax(1) == truth
    error = 1 / (count + 2) if smoothed and bool(correct.all()) else 0.0
    # label smoothing also gives the right class its share, of 1 / classes
    smoothing = error * classes / (classes - 1) if classes > 1 else 0.0
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = scores / log_temperature.exp()
        if multi_label:
            target = error + (1 - 2 * error) * truth.double()
            loss = F.binary_cross_entropy_with_logits(scaled, target)
        else:
            loss = F.cross_entropy(scaled, truth, label_smoothing=smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp().clamp(0.05, 20))


def run_logits(runtime: Runtime, pictures: Sequence[Picture] | Picture) -> Logits:
    """Compute the logits N x C of pictures of any sizes, in chunks that bound the memory."""
    chunks = in_chunks(pictures)
    return np.concatenate([runtime.run(chunk, ["logits"])["logits"] for chunk in chunks])


def score(
    logits: Logits, labels: Labels, temperature: float, split: str, size: str | None = None
) -> list[Metric]:
    """Measure accuracy, calibrated loss and expected calibration error (15 bins, L1) of a split.

    With more than `MANY_CLASSES` classes, top-5 accuracy is measured as well.

    Args:
        logits: N x C.
        labels: N class numbers.
        temperature: Divisor of the logits.
        split: Name of the split, for the metrics.
        size: Size to which the pictures were rescaled; None for their own size.
    """
    scores, truth = torch.from_numpy(logits).double() / temperature, torch.from_numpy(labels)
    values = {
        "accuracy": (scores.argmax(1) == truth).double().mean(),
        "loss": F.cross_entropy(scores, truth),
        "ece": multiclass_calibration_error(
            scores.softmax(1), truth, num_classes=logits.shape[1], n_bins=BINS
        ),
    }
    if logits.shape[1] > MANY_CLASSES:
        among = scores.topk(5, 1).indices == truth[:, None]  # (N, 5)
        values["accuracy-top5"] = among.any(1).double().mean()
    return [
        Metric(name=name, value=round(float(value), 6), split=split, samples=len(truth), size=size)
        for name, value in values.items()
    ]


class Resized(Sequence[Picture]):
    """Pictures that are rescaled (Pillow, bicubic) on access.

    Args:
        pictures: Pictures of any sizes.
        size: `WIDTHxHEIGHT`; or one number, the side of a square whose area each picture gets
            while its aspect ratio is kept.
    """

    def __init__(self, pictures: Sequence[Picture] | Picture, size: str) -> None:
        self.pictures = pictures
        if "x" in size:
            width, height = parse_size(size)
            self.policy = InputPolicy(fixed_size=(height, width))
        else:
            self.policy = InputPolicy(native_side=(int(size), int(size)))

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> Picture:  # type: ignore[override]
        """Return picture `index`, uint8 H x W x 3."""
        return prepare(self.pictures[index], self.policy)
