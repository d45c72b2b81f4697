"""Digits as people draw them, sent to the published model that reads digits by default."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from artifacts.artifact import artifacts_root
from serving.client import Client
from serving.client.in_process import LocalPredictor
from tests.pictures import encoded
from tests.server import running_server

STROKES = {
    "1": [(0.5, 0.0), (0.45, 1.0)],
    "4": [(0.3, 0.0), (0.0, 0.6), (0.9, 0.6), (0.65, 0.6), (0.75, 0.1), (0.6, 1.0)],
    "7": [(0.0, 0.05), (0.9, 0.0), (0.4, 1.0)],
}
"""Corners of strokes, from 0 to 1 of the box in both directions."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(artifacts_root() / "digits", root / "digits")
    return root


@pytest.fixture(scope="module")
def client(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        running_server(root, tmp_path_factory.mktemp("server") / "log.txt") as address,
        Client(address) as client,
    ):
        yield client


def drawing(
    digits: str,
    size: tuple[int, int],
    corner: tuple[int, int],
    height: int,
    *,
    paper: tuple[int, int, int] = (228, 222, 205),
    ink: tuple[int, int, int] = (30, 40, 90),
) -> Image.Image:
    """Draw digits in a row, the upper left corner of the first at a place; the light is uneven."""
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    for place, digit in enumerate(digits):
        left, top = corner[0] + 1.5 * place * height, corner[1]
        points = [(left + 0.7 * height * x, top + height * y) for x, y in STROKES[digit]]
        pen.line(points, ink, max(2, height // 9), joint="curve")
    light = np.linspace(0.5, 1, size[0])[:, None]
    return Image.fromarray(np.rint(np.asarray(image) * light).astype(np.uint8))


def test_digits_are_read_wherever_they_are_on_a_sheet(client: Client, root: Path) -> None:
    sent = {
        "7": drawing("7", (300, 400), (180, 60), 150),
        "1": drawing("1", (1400, 1000), (200, 700), 180),
        "4": drawing("4", (90, 64), (8, 6), 50, paper=(20, 30, 25), ink=(240, 240, 235)),
    }
    contents = [encoded(image, "JPEG", quality=85) for image in sent.values()]
    together = client.classify_by_route("digits", contents)
    assert together.model.name == "digits"
    assert [p.top[0].label for p in together.pictures] == list(sent)
    for picture, image, content in zip(together.pictures, sent.values(), contents, strict=True):
        assert (picture.size.width, picture.size.height) == image.size
        assert (picture.shown.width, picture.shown.height) == (28, 28)
        assert "cropped to the drawing " in picture.treatment
        assert picture.treatment.endswith(", centred")
        assert picture.treatment.startswith("inverted, ") == (image.size != (90, 64))
        alone = client.classify("digits", [content]).pictures[0]
        assert (alone.treatment, alone.top[0].label) == (picture.treatment, picture.top[0].label)
    local = LocalPredictor(root).classify("digits", contents)
    assert [p.treatment for p in local.pictures] == [p.treatment for p in together.pictures]
    assert [p.top[0].label for p in local.pictures] == list(sent)


def test_a_sheet_without_one_digit_is_answered_and_said_to_be_so(client: Client) -> None:
    blank = Image.new("RGB", (400, 300), (228, 222, 205))
    two = drawing("17", (600, 300), (60, 60), 150)
    answers = client.classify("digits", [encoded(blank), encoded(two)]).pictures
    for picture, said in zip(answers, ("no drawing found", "several drawings found"), strict=True):
        shown = picture.shown
        before, after = (f"{s.width}x{s.height}" for s in (picture.size, shown))
        assert picture.treatment == f"{said}; rescaled {before} -> {after}"
        assert shown.width > shown.height


def test_features_are_those_of_the_normalised_drawing(client: Client) -> None:
    image = drawing("7", (300, 400), (180, 60), 150)
    elsewhere = drawing("7", (500, 450), (30, 250), 150)
    other = drawing("1", (300, 400), (180, 60), 150)
    one, same, different = client.features("digits", list(map(encoded, (image, elsewhere, other))))
    assert np.linalg.norm(one - same) < 0.3 * np.linalg.norm(one - different)
