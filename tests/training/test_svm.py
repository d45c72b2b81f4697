import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import nn

from artifacts import InputPolicy, Runtime
from training.export import Served, export
from training.networks import Classifier
from training.svm import KernelResult, SvmHead, kernels_csv, kernels_plot


def fitted(kernel: str) -> tuple[SVC, SvmHead, np.ndarray]:
    """Fit a machine to seven overlapping classes of unequal size; returns it with new points."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(7, 12))
    labels = random.choice(7, 300, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    points = (centres[labels] + random.normal(size=(300, 12))).astype(np.float32)
    mean, std = points.mean(0), points.std(0)
    machine = SVC(kernel=kernel).fit((points - mean) / std, labels)
    return machine, SvmHead(machine, mean, std), random.normal(size=(500, 12)).astype(np.float32)


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_classes_rank_as_scikit_learns(kernel: str) -> None:
    machine, head, points = fitted(kernel)
    votes = machine.decision_function((points - head.mean.numpy()) / head.std.numpy())
    expected = -np.log1p(votes.max(1, keepdims=True) - votes)
    found = head(torch.from_numpy(points)).numpy()
    # a margin of about 0 may change sign by rounding
    same = np.abs(found - expected).max(1) < 1e-3
    assert same.mean() > 0.99


class Pooled(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        parts = nn.functional.adaptive_avg_pool2d(images, 1).flatten(1)
        return parts.repeat(1, 4)


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_the_whole_pipeline_is_one_graph_of_any_size(kernel: str) -> None:
    _, head, _ = fitted(kernel)
    served = Served(Classifier(Pooled(), head).eval(), (0.5,) * 3, (0.5,) * 3)
    runtime = Runtime(export(served, InputPolicy()), InputPolicy())
    images = np.random.default_rng(1).integers(0, 256, (3, 33, 70, 3), dtype=np.uint8)
    expected = served(torch.from_numpy(images))[0].numpy()
    np.testing.assert_allclose(runtime.run_batch(images)["logits"], expected, atol=1e-4)


def test_kernels_are_written_side_by_side() -> None:
    kernels = [KernelResult("linear", 1.0, 0.5, 10, 0.1), KernelResult("rbf", 0.9, 0.6, 20, 0.2)]
    assert kernels_csv(kernels).decode().splitlines()[2] == "rbf,0.9,0.6,20,0.2"
    assert kernels_plot(kernels, "a title", "a command").startswith(b"\x89PNG")
