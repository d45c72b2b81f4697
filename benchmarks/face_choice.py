"""Which of several faces is chosen: `python -m benchmarks.face_choice [--pictures 300]`.

Photographs are composed of people of CelebA (see `benchmarks.photographs`). The weight of the
closeness to the middle is chosen on training people, and the choice is checked on test people. The
first table gives the share of photographs in which the face of the person is chosen among those
that the detector finds; the second, what the detector misses.
"""

from collections.abc import Callable

import click
import numpy as np

from artifacts.datasets import load
from artifacts.faces import Detector, Found
from artifacts.faces.choice import CLOSENESS, prominence
from artifacts.provenance import hardware
from benchmarks.photographs import KINDS, Kind, Photograph, Studio

Scene = tuple[Photograph, list[Found]]
Score = Callable[[Found, int, int], float]
WEIGHTS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
ADDITIVE = (0.25, 0.5, 1.0, 2.0, 4.0)


@click.command()
@click.option("--pictures", default=300, show_default=True, help="Photographs of each kind.")
@click.option("--seed", default=0, show_default=True)
def main(pictures: int, seed: int) -> None:
    """Print the tables."""
    print(f"{hardware()}; {pictures} photographs of each kind and split, seed {seed}\n")
    made = {split: scenes(split, pictures, seed) for split in ("train", "test")}
    print("| score | " + " | ".join(f"{s}: {k}" for s in made for k in KINDS[1:]) + " | train |")
    print("|" + "---|" * (2 * len(made) + 2))
    for name, score in scores():
        cells = [right(made[split][kind], score) for split in made for kind in KINDS[1:]]
        print(f"| {name} | " + " | ".join(f"{c:.3f}" for c in [*cells, np.mean(cells[:2])]) + " |")
    print(f"\nThe server uses area x exp(-{CLOSENESS:g} d²).\n")
    print("| photographs | person's face found | another face found where nobody is |")
    print("|---|---|---|")
    for split, kinds in made.items():
        for kind, there in kinds.items():
            found = np.mean([any(hits(p, face) for face in faces) for p, faces in there])
            alone = [len(faces) - 1 for p, faces in there if kind == "portrait"]
            false = f"{np.mean(np.array(alone) > 0):.3f}" if alone else ""
            print(f"| {split}: {kind} | {found:.3f} | {false} |")


def scenes(split: str, count: int, seed: int) -> dict[Kind, list[Scene]]:
    """Return composed photographs of people of a split, by kind, with the faces found on them."""
    people = load("faces/celeba", split)
    studio = Studio(seed + (split == "test"))
    detector = Detector(threads=1)
    made: dict[Kind, list[Scene]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for _ in range(count):
            number = int(studio.random.integers(1, 4))
            main, *others = studio.random.choice(len(people.labels), 1 + number, replace=False)
            others = [i for i in others if people.labels[i] != people.labels[main]]
            crops = [people.images[int(i)] for i in others]
            photograph = studio.compose(people.images[int(main)], crops, kind)
            made[kind].append((photograph, detector.find(photograph.picture)))
    return made


def scores() -> list[tuple[str, Score]]:
    """Return the scores that are compared, with their names."""
    products = [(f"area x exp(-{weight:g} d²)", _product(weight)) for weight in WEIGHTS]
    return products + [(f"area - {weight:g} px²", _difference(weight)) for weight in ADDITIVE]


def right(made: list[Scene], score: Score) -> float:
    """Return the share of photographs whose person is chosen, of those whose face was found."""
    answers = []
    for photograph, faces in made:
        if any(hits(photograph, face) for face in faces):
            height, width = photograph.picture.shape[:2]
            best = max(faces, key=lambda face: score(face, width, height))
            answers.append(hits(photograph, best))
    return float(np.mean(answers))


def hits(photograph: Photograph, face: Found) -> bool:
    """Whether the middle of a box is in the inner half of the person's crop."""
    left, top, right, bottom = photograph.box
    x, y = (face.box[:2] + face.box[2:]) / 2
    across, down = abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)
    return bool(across < (right - left) / 4 and down < (bottom - top) / 4)


def _product(weight: float) -> Score:
    return lambda face, width, height: prominence(face, width, height, weight)


def _difference(weight: float) -> Score:
    def score(face: Found, width: int, height: int) -> float:
        offset = (face.box[:2] + face.box[2:]) / 2 - np.array([width, height]) / 2
        return face.side**2 - weight * float((offset**2).sum())

    return score


if __name__ == "__main__":
    main()
