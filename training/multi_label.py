"""Measures multi-label models: mean average precision, F1 at the thresholds, and calibration."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import binary_calibration_error

from artifacts import DataError, probabilities
from artifacts.calibration import BINS
from artifacts.datasets import ImageSet
from artifacts.manifest import Metric
from artifacts.multi_label import best_thresholds, decide, mean_average_precision
from training.evaluate import Labels, Logits
from training.recipe import Recipe


def check_labels(source: ImageSet, recipe: Recipe) -> None:
    """Check that the labels of a data set are of the kind that the loss of a recipe takes.

    Raises:
        DataError: Pictures have several labels or none and the loss takes one, or the reverse.
    """
    if source.multi_label and recipe.loss.task != "multi-label":
        raise DataError(
            f"{source.name}: pictures have several labels or none, but {recipe.name} learns one "
            "class per picture; set loss.name to bce."
        )
    if recipe.loss.task == "multi-label" and not source.multi_label:
        raise DataError(
            f"{source.name}: every picture has exactly one label, but the loss bce of "
            f"{recipe.name} is for several; set loss.name to cross-entropy."
        )


def choose_thresholds(logits: Logits, labels: Labels, temperature: float) -> tuple[float, ...]:
    """Return the threshold of each class with the largest F1.

    Args:
        logits: N x C, of validation pictures.
        labels: N x C, 1 where a picture has the class, else 0.
        temperature: Divisor of the logits.
    """
    return best_thresholds(probabilities(logits, temperature, "multi-label"), labels > 0)


def score_labels(
    logits: Logits,
    labels: Labels,
    temperature: float,
    thresholds: tuple[float, ...],
    split: str,
    size: str | None = None,
    *,
    classes: Sequence[str] = (),
) -> list[Metric]:
    """Measure mean average precision, F1, calibrated loss and calibration error of a split.

    Loss (binary cross-entropy, nats) and calibration error (15 bins, L1) are means over all
    pictures and classes.

    Args:
        logits: N x C.
        labels: N x C, 1 where a picture has the class, else 0.
        temperature: Divisor of the logits.
        thresholds: C probabilities from which on a class is present.
        split: Name of the split, for the metrics.
        size: Size to which the pictures were rescaled; None for their own size.
        classes: C names of classes whose recall and precision are measured, too; none by default.
            A class has no recall if no picture has it, and no precision if it is found in none.
    """
    scores, truth = torch.from_numpy(logits).double() / temperature, torch.from_numpy(labels)
    shares = probabilities(logits, temperature, "multi-label")
    decided = decide(shares, thresholds, labels > 0)
    values: dict[str, float | torch.Tensor] = {
        "map": mean_average_precision(shares, labels > 0),
        "f1-macro": decided.f1_macro,
        "f1-micro": decided.f1_micro,
        "loss": F.binary_cross_entropy_with_logits(scores, truth.double()),
        "ece": binary_calibration_error(
            torch.from_numpy(shares).flatten(), truth.flatten(), n_bins=BINS
        ),
    }
    counted = [(name, value, len(labels)) for name, value in values.items()]
    for number, name in enumerate(classes):
        right = int(decided.right[number])
        for kind, totals in (("recall", decided.shown), ("precision", decided.found)):
            if totals[number]:
                counted.append((f"{kind}/{name}", right / totals[number], int(totals[number])))
    return [
        Metric(name=name, value=round(float(value), 6), split=split, samples=samples, size=size)
        for name, value, samples in counted
    ]
