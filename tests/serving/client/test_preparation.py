"""Models that crop, pad or take one picture at a time, through a server and in process."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from artifacts import probabilities
from artifacts.pictures import Picture
from serving.client import Client
from serving.client.in_process import LocalPredictor
from tests.graphs import CLASSES, one_at_a_time, tiny_artifact, tiny_model
from tests.pictures import encoded, photograph
from tests.server import running_server

COLOUR = (114, 114, 114)
POLICIES = {
    "crop": {
        "fixed_size": (48, 48),
        "resize": "crop",
        "resize_to": 55,
        "interpolation": "bilinear",
    },
    "pad": {
        "fixed_size": (64, 80),
        "resize": "pad",
        "pad_colour": COLOUR,
        "interpolation": "bilinear",
        "antialias": False,
    },
}
SENT = [photograph(500, 375, 0), photograph(97, 131, 1), photograph(40, 30, 2)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, policy in POLICIES.items():
        tiny_artifact(root, name, input=policy)
    tiny_artifact(root, "one", input={"batch": "one"}, graph=one_at_a_time())
    tiny_artifact(root, "any", input={})
    return root


@pytest.fixture(scope="module")
def url(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(root, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


def cropped(image: Image.Image) -> Picture:
    """Prepare a picture as torchvision does."""
    return np.asarray(Compose([Resize(55), CenterCrop(48)])(image))


def padded(image: Image.Image) -> Picture:
    """Prepare a picture as Ultralytics does, with its own arithmetic."""
    ratio = min(64 / image.height, 80 / image.width)
    width, height = round(image.width * ratio), round(image.height * ratio)
    pixels = np.asarray(image, np.float64)
    for axis, new in ((0, height), (1, width)):
        old = pixels.shape[axis]
        place = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        low = np.floor(place).astype(int)
        weight = (place - low).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        first = pixels.take(low, axis)
        second = pixels.take(np.minimum(low + 1, old - 1), axis)
        pixels = first * (1 - weight) + second * weight
    canvas = np.full((64, 80, 3), COLOUR, np.uint8)
    left, top = (80 - width) // 2, (64 - height) // 2
    canvas[top : top + height, left : left + width] = np.rint(pixels)
    return canvas


def outside(pictures: list[Picture]) -> npt.NDArray[np.float64]:
    """Return the probabilities of pictures, each run by itself in a session of the test's own."""
    session = ort.InferenceSession(
        tiny_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    logits = [session.run(["logits"], {"images": picture[None]})[0] for picture in pictures]
    return probabilities(np.concatenate(logits), 2.0)


def answered(predictor: Client | LocalPredictor, name: str) -> npt.NDArray[np.float64]:
    """Return the probabilities (N x C) of the pictures in `SENT`, in the order of the classes."""
    answer = predictor.classify(name, [encoded(image) for image in SENT], top=len(CLASSES))
    rows = [{p.label: p.probability for p in picture.top} for picture in answer.pictures]
    return np.array([[row[label] for label in CLASSES] for row in rows])


@pytest.mark.parametrize(("name", "prepared"), [("crop", cropped), ("pad", padded)])
def test_a_server_and_a_client_prepare_pictures_as_others_do(
    url: str, root: Path, name: str, prepared: object
) -> None:
    expected = outside([prepared(image) for image in SENT])  # type: ignore[operator]
    with Client(url) as client:
        np.testing.assert_allclose(answered(client, name), expected, atol=1e-6)
    np.testing.assert_allclose(answered(LocalPredictor(root), name), expected, atol=1e-6)


def test_one_picture_at_a_time_equals_batches(url: str, root: Path) -> None:
    expected = outside([np.asarray(image) for image in SENT])
    same = [encoded(photograph(64, 48, seed)) for seed in range(5)]
    local = LocalPredictor(root)
    with Client(url) as client:
        np.testing.assert_allclose(answered(client, "one"), expected, atol=1e-6)
        np.testing.assert_allclose(answered(local, "one"), expected, atol=1e-6)
        features = client.features("one", same)
        np.testing.assert_allclose(features, client.features("any", same), atol=1e-5)
        np.testing.assert_allclose(features, local.features("one", same), atol=1e-5)
        inside, inside_local = client.inspect("one", same), local.inspect("one", same)
    for x, y in zip(inside.layers, inside_local.layers, strict=True):
        np.testing.assert_allclose(x.channel_zeros, y.channel_zeros, atol=1e-6)


def test_answers_and_the_list_of_models_say_how_pictures_are_prepared(url: str) -> None:
    with Client(url) as client:
        info = client.model_info("crop")
        treatments = {
            name: client.classify(name, [encoded(SENT[0])]).pictures[0] for name in POLICIES
        }
    assert (info.input.resize, info.input.resize_to, info.input.interpolation) == (
        "crop",
        55,
        "bilinear",
    )
    assert treatments["crop"].treatment == "rescaled 500x375 -> 73x55, cropped to 48x48"
    assert (treatments["pad"].shown.width, treatments["pad"].shown.height) == (80, 64)
    assert treatments["pad"].treatment == "rescaled 500x375 -> 80x60, padded to 80x64"
    card = httpx.get(f"{url}/v1/models/crop/card").text
    assert "rescaled to 55 px on the shorter side, cropped to the middle 48x48 px" in card
    schema = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]["InputPolicy"]
    assert {"resize", "resize_to", "normalisation", "batch"} <= schema["properties"].keys()
