import pytest
import torch

from training.networks import build, parameter_counts
from training.settings import Network

STUDY = {"model": "efficientnet_b0", "width": 512, "relu": True}
OURS = {
    "model": "tf_efficientnet_lite0",
    "width": 256,
    "normalise": True,
    "head": "cosine",
}


def test_the_study_has_efficientnet_b0_with_512_numbers() -> None:
    with torch.device("meta"):
        network = build(Network("embedder", STUDY), 10)
    assert parameter_counts(network) == (4_007_548 + 1280 * 512 + 512,) * 2


@torch.inference_mode()
def test_a_relu_leaves_no_number_below_zero() -> None:
    images = torch.randn(3, 3, 32, 32)
    study = build(Network("embedder", {**STUDY, "model": "mobilenetv2_035"}), 10).eval()
    embeddings = study(images)
    assert embeddings.shape == (3, 512)
    assert embeddings.min() == 0
    assert embeddings.equal(study.trunk(images)), "no head between embedding and loss"


@torch.inference_mode()
def test_embeddings_of_length_one_and_cosines_to_centres() -> None:
    images = torch.randn(3, 3, 32, 32)
    ours = build(Network("embedder", {**OURS, "model": "mobilenetv2_035"}), 7).eval()
    embeddings = ours.trunk(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    cosines = ours(images)
    assert cosines.shape == (3, 7)
    assert cosines.abs().max() <= 1 + 1e-6
    centre = ours.head.weight[2] / ours.head.weight[2].norm()  # type: ignore[operator, index, union-attr]
    torch.testing.assert_close(cosines[:, 2], embeddings @ centre)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_length_is_one_in_reduced_precision_too(precision: torch.dtype) -> None:
    ours = build(Network("embedder", {**OURS, "model": "mobilenetv2_035"}), 7)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        embeddings = ours.trunk(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
