"""Measures how well digits are read that were drawn as people draw them.

Digits of MNIST are rendered on sheets (`benchmarks.drawn_digits`), and two models read them, each
with the normalisation of drawings (`artifacts.drawings`) and without it. Then come the digits that
scikit-learn carries: 1,797 of 13 other writers, of 8x8 px (E. Alpaydin and C. Kaynak, 1998,
"Optical recognition of handwritten digits", UCI machine learning repository).

    python -m benchmarks.handwriting

The parameters of the normalisation were chosen with `--split train`.
"""

import time
from collections.abc import Sequence

import click
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from artifacts import Artifact, InputPolicy, Runtime
from artifacts.datasets import load
from artifacts.pictures import Picture
from artifacts.preprocessing import prepare_and_tell
from benchmarks.drawn_digits import KINDS, Sheet, drawn

NEW, OLD = "digits", "mnist-relu-cross-entropy-sgd"
CHUNK = 50
"""Pictures that are in memory at the same time; sheets are large."""


SEARCH = InputPolicy(drawing="mnist")


def readers() -> list[Runtime]:
    """Return the two models, which do not search for drawings themselves."""
    found = []
    for name in (NEW, OLD):
        artifact = Artifact.open(name)
        policy = artifact.manifest.input.model_copy(update={"drawing": None})
        found.append(Runtime(artifact.read_graph(), policy, name=name))
    return found


class Row:
    """What is counted for one kind of pictures."""

    def __init__(self, readers: Sequence[Runtime]) -> None:
        self.readers = readers
        self.right = np.zeros((len(readers), 2))
        """Of each model, with the normalisation and without it."""
        self.seconds: list[float] = []
        self.missed = 0

    def read(self, pictures: Sequence[Picture], labels: npt.NDArray[np.int64]) -> None:
        """Let all models read pictures, and count what they get right."""
        normalised = [self._normalised(picture) for picture in pictures]
        for model, reader in enumerate(self.readers):
            for column, shown in enumerate((normalised, pictures)):
                logits = reader.run(shown, ["logits"])["logits"]
                self.right[model, column] += (logits.argmax(axis=1) == labels).sum()

    def _normalised(self, picture: Picture) -> Picture:
        begun = time.thread_time()
        prepared = prepare_and_tell(picture, SEARCH)
        self.seconds.append(time.thread_time() - begun)
        self.missed += " found; " in prepared.treatment
        return prepared.picture

    def line(self, name: str) -> str:
        """Return the row of the table."""
        cells = [f"{right / len(self.seconds):.4f}" for right in self.right.ravel()]
        cells.append(f"{1000 * np.median(self.seconds):.1f}")
        return f"| {name} | {len(self.seconds):,} | {' | '.join(cells)} | {self.missed} |"


def rendered(
    row: Row, sheet: Sheet | None, split: str, places: npt.NDArray[np.int64], seed: int
) -> None:
    """Draw digits of a split of MNIST on sheets, and have them read."""
    digits = load("mnist", split)
    random = np.random.default_rng(seed)
    for start in range(0, len(places), CHUNK):
        chosen = places[start : start + CHUNK]
        pictures = [drawn(digits.images[place], sheet, random) for place in chosen]
        row.read(pictures, digits.labels[chosen])


def eight_by_eight(row: Row) -> None:
    """Have the digits of scikit-learn read, bright on black as they are."""
    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    row.read(list(np.repeat(grey[..., None], 3, axis=3)), labels.astype(np.int64))


@click.command()
@click.option("--digits", default=500, show_default=True, help="Digits of each kind.")
@click.option("--split", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(digits: int, split: str, seed: int) -> None:
    """Print a Markdown table of the accuracy for each kind of pictures."""
    both = " | ".join(f"{name}, normalised | {name}, not" for name in (NEW, OLD))
    print(f"| pictures | number | {both} | ms to normalise | no single drawing found |")
    print("|---|---|---|---|---|---|---|---|")
    models = readers()
    total = len(load("mnist", split))
    for kind, sheet in KINDS.items():
        number = total if sheet is None and split == "test" else min(digits, total)
        places = np.random.default_rng(seed).permutation(total)[:number]
        row = Row(models)
        rendered(row, sheet, split, places, seed)
        print(row.line(kind), flush=True)
    row = Row(models)
    eight_by_eight(row)
    print(row.line("8x8 px, of other writers"))


if __name__ == "__main__":
    main()
