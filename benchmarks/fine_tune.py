"""Fine-tuning as a competent person writes it in twenty lines; `own_pictures` compares with it."""

import math
import time

import numpy as np
import numpy.typing as npt
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from artifacts.datasets import ImageSet
from training.networks.weights import package_state

SIDE = 224
BATCH = 32


def fine_tune(
    model: str, train: ImageSet, test: ImageSet, rate: float, seconds: float, seed: int
) -> npt.NDArray[np.float64]:
    """Fine-tune all layers for a given time and return the probabilities of test pictures.

    AdamW with a cosine schedule, random flips and batches of 32, all pictures at 224x224 px.

    Args:
        model: timm's name of a network whose weights are installed.
        train: Training pictures.
        test: Test pictures.
        rate: Peak learning rate.
        seconds: Time from reading the pictures to the end of training.
        seed: Of the head's first weights and of the order of the pictures.

    Returns:
        N x C.
    """
    began = time.monotonic()
    torch.manual_seed(seed)
    images, labels = _resized(train), torch.from_numpy(train.labels)
    network = timm.create_model(model, num_classes=len(train.classes))
    state = {k: v for k, v in package_state(model).items() if not k.startswith("classifier")}
    network.load_state_dict(state, strict=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    network.train()
    while (done := (time.monotonic() - began) / seconds) < 1:
        for rows in torch.split(torch.randperm(len(labels)), BATCH):
            done = min(1, (time.monotonic() - began) / seconds)
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * done)) / 2
            flipped = torch.rand(len(rows)) < 0.5  # noqa: PLR2004
            batch = _normalised(images[rows])
            batch = torch.where(flipped[:, None, None, None], batch.flip(3), batch)
            loss = F.cross_entropy(network(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if done == 1:
                break
    network.eval()
    with torch.inference_mode():
        parts = [network(_normalised(part)) for part in torch.split(_resized(test), BATCH)]
    return torch.cat(parts).double().softmax(1).numpy()


def _resized(pictures: ImageSet) -> Tensor:
    """Return all pictures as uint8 N x 3 x H x W."""
    size = (SIDE, SIDE)
    found = [
        np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        for picture in pictures.images
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def _normalised(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1
