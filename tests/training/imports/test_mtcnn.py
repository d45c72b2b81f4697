"""The detector's networks compute what torch computes with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from artifacts import ArtifactError, InputPolicy, Runtime
from artifacts.faces.detector import NETWORKS
from training.imports.mtcnn import build_graph, import_mtcnn


def rnet() -> dict[str, nn.Module]:
    """The layers of rnet by name, in order (Zhang et al. 2016, figure 2)."""
    return {
        "conv1": nn.Conv2d(3, 28, 3),
        "prelu1": nn.PReLU(28),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv2": nn.Conv2d(28, 48, 3),
        "prelu2": nn.PReLU(48),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv3": nn.Conv2d(48, 64, 2),
        "prelu3": nn.PReLU(64),
        "dense4": nn.Linear(576, 128),
        "prelu4": nn.PReLU(128),
        "dense5_1": nn.Linear(128, 2),
        "dense5_2": nn.Linear(128, 4),
    }


@torch.no_grad()
def test_rnet_computes_what_torch_computes() -> None:
    torch.manual_seed(0)
    layers = rnet()
    for name, layer in layers.items():
        if name.startswith("prelu"):
            nn.init.uniform_(layer.weight, -1, 1)  # type: ignore[arg-type]
    state = nn.ModuleDict(layers).state_dict()
    pictures = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2) - 127.5) / 128
    for name, layer in list(layers.items())[:-2]:
        if name == "dense4":
            x = x.permute(0, 3, 2, 1).flatten(1)  # order of the weights: columns, rows, channels
        x = layer(x)
    runtime = Runtime(build_graph("rnet", state).SerializeToString(), InputPolicy(), threads=1)
    given = runtime.run_batch(pictures)
    expected = layers["dense5_1"](x).softmax(1)
    np.testing.assert_allclose(given["probability"], expected, atol=1e-5)
    np.testing.assert_allclose(given["offsets"], layers["dense5_2"](x), atol=1e-5)


def test_what_is_not_the_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"pnet\.pt: not the weights"):
        import_mtcnn(tmp_path, tmp_path)
    for name in NETWORKS:
        torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / f"{name}.pt")
    with pytest.raises(ArtifactError, match="facenet-pytorch"):
        import_mtcnn(tmp_path, tmp_path)
    (tmp_path / "pnet.pt").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match=r"pnet\.pt: not the weights"):
        import_mtcnn(tmp_path, tmp_path)
    assert not list(tmp_path.glob("*.onnx"))
