"""Compares large JPEGs that are reduced while they are decoded with the same, decoded as a whole.

Photographs are mosaics of test pictures of Stanford Cars, so that they have as much detail as those
of a camera. For each size, it prints the processor time of decoding and preparing one picture in
both ways, and how much the prepared pixels differ. The answers are compared on test pictures of the
model's data set, enlarged to that size, and the differences set beside those that the same files
saved at another quality make.

    python -m benchmarks.reduction --model cars-lite0-finetuned --dataset stanford_cars:test
"""

from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from artifacts import Artifact, Runtime, probabilities
from artifacts.commands import run_command
from artifacts.datasets import load
from artifacts.datasets.registry import parse
from artifacts.pictures import Picture, upright_rgb
from artifacts.preprocessing import prepare_and_tell
from artifacts.provenance import code_version, hardware
from benchmarks.turns import in_turns
from serving.pictures.decode import read_prepared

SIZES = ((640, 480), (1000, 750), (2000, 1500), (4000, 3000))
QUALITY, BETTER = 90, 95
SEED = 0


@click.command()
@click.option("--model", default="cars-lite0-finetuned", show_default=True)
@click.option("--dataset", default="stanford_cars:test", show_default=True)
@click.option("--pictures", default=200, show_default=True, help="For the answers, per size.")
@click.option("--rounds", default=5, show_default=True)
def main(model: str, dataset: str, pictures: int, rounds: int) -> None:
    """Print a table with a row for each size."""
    artifact = Artifact.open(model)
    runtime = Runtime.open(artifact, threads=1)
    test = load(*parse(dataset))
    chosen = np.linspace(0, len(test.images) - 1, pictures).astype(int)
    click.echo(f"{model}, {pictures} pictures of {dataset}; {hardware()}, {code_version()}\n")
    click.echo(
        "| size | reduced by | ms, whole | ms, reduced | ratio | pixels differ, mean | at most "
        "| probability differs, at most | another class | at quality 95: probability | class |\n"
        f"|{'---|' * 11}"
    )
    for width, height in SIZES:
        photographs = list(_mosaics(3, (width, height)))
        spent = in_turns(
            {
                "whole": partial(_whole, photographs, runtime),
                "reduced": partial(_reduced, photographs, runtime),
            },
            rounds,
        )
        pixels = _difference(photographs, runtime)
        enlarged = [Image.fromarray(test.images[i]).resize((width, height)) for i in chosen]
        files = [_encoded(picture) for picture in enlarged]
        whole = _probabilities(_whole(files, runtime), runtime, artifact)
        reduced = _probabilities(_reduced(files, runtime), runtime, artifact)
        files = [_encoded(picture, BETTER) for picture in enlarged]
        better = _probabilities(_whole(files, runtime), runtime, artifact)
        each = 1e3 / len(photographs)
        cells = [
            f"{width}x{height}",
            f"{artifact.manifest.input.reduction(width, height)}",
            f"{each * spent['whole']:.1f}",
            f"{each * spent['reduced']:.1f}",
            f"{spent['whole'] / spent['reduced']:.2f}",
            f"{pixels.mean():.2f}",
            f"{pixels.max()}",
            f"{np.abs(whole - reduced).max():.4f}",
            f"{(whole.argmax(1) != reduced.argmax(1)).sum()}",
            f"{np.abs(whole - better).max():.4f}",
            f"{(whole.argmax(1) != better.argmax(1)).sum()}",
        ]
        click.echo(f"| {' | '.join(cells)} |")


def _mosaics(count: int, size: tuple[int, int]) -> Iterator[bytes]:
    """Yield JPEGs of a size (width, height) that are covered with pictures of cars."""
    cars = load("stanford_cars", "test").images
    random = np.random.default_rng(SEED)
    for _ in range(count):
        canvas = Image.new("RGB", size)
        top = 0
        while top < size[1]:
            left = 0
            while left < size[0]:
                car = Image.fromarray(cars[int(random.integers(len(cars)))])
                canvas.paste(car, (left, top))
                left += car.width
            top += 150
        yield _encoded(canvas)


def _encoded(image: Image.Image, quality: int = QUALITY) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _probabilities(
    pictures: Sequence[Picture], runtime: Runtime, artifact: Artifact
) -> npt.NDArray[np.float64]:
    """Probabilities N x C of prepared pictures."""
    logits = runtime.run(pictures, ["logits"], prepared=True)["logits"]
    return probabilities(logits, artifact.manifest.temperature)


def _whole(contents: Sequence[bytes], runtime: Runtime) -> list[Picture]:
    opened = (Image.open(BytesIO(content)) for content in contents)
    return [prepare_and_tell(upright_rgb(image), runtime.policy).picture for image in opened]


def _reduced(contents: Sequence[bytes], runtime: Runtime) -> list[Picture]:
    return [read_prepared([content], runtime.policy)[0].picture for content in contents]


def _difference(contents: Sequence[bytes], runtime: Runtime) -> npt.NDArray[np.int64]:
    """Absolute differences of all prepared pixels between both ways."""
    pairs = zip(_whole(contents, runtime), _reduced(contents, runtime), strict=True)
    return np.concatenate([np.abs(a.astype(int) - b.astype(int)).ravel() for a, b in pairs])


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.reduction")
