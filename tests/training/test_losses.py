import pytest
import torch

from training.losses import objective
from training.settings import Loss

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
LABELS = torch.tensor([0, 0])


@pytest.mark.parametrize("name", ["cross-entropy", "nll"])
def test_nll_of_log_softmax_is_cross_entropy(name: str) -> None:
    assert objective(LOGITS, LABELS, Loss(name)).item() == pytest.approx(0.720095, abs=1e-5)  # type: ignore[arg-type]


def test_nll_on_logits_has_no_floor() -> None:
    assert objective(LOGITS, LABELS, Loss("nll-on-logits")).item() == -1.0
    assert objective(100 * LOGITS, LABELS, Loss("nll-on-logits")).item() == -100.0


def test_doubled_softmax_never_gets_small() -> None:
    sure = torch.tensor([[1000.0, 0.0]])
    loss = objective(sure, LABELS[:1], Loss("doubled-softmax"))
    assert loss.item() == pytest.approx(0.313262, abs=1e-5)  # -log(e / (e + 1)) at its best


def test_label_smoothing() -> None:
    smoothed = objective(LOGITS[:1], LABELS[:1], Loss(label_smoothing=0.2)).item()
    assert smoothed == pytest.approx(0.9 * 0.126928 + 0.1 * 2.126928, abs=1e-5)
