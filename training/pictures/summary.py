"""The most important results on your own pictures, in sentences."""

from collections.abc import Sequence

import numpy as np

from training.pictures import measures
from training.pictures.measures import ClassFigures
from training.pictures.results import Ints, Results
from training.pictures.suspects import Suspect

WIDE = 0.1
"""Width of the interval of the accuracy from which more test pictures are recommended."""
FEW = 10
"""Number of test pictures below which the figures of a class say little."""


def summary(
    results: Results,
    classes: Sequence[ClassFigures],
    counts: Ints | None,
    suspects: Sequence[Suspect],
) -> list[str]:
    """Return what a reader should know first.

    Args:
        results: what was measured.
        classes: figures of each class on the test pictures.
        counts: confusion matrix of the test pictures, C x C; None for several labels.
        suspects: labels that are probably wrong.
    """
    sentences = []
    exact = measures.accuracy(results, results.test)
    if exact.interval.high - exact.interval.low > WIDE:
        sentences.append(
            f"With {exact.total:,} test pictures, the accuracy is known only roughly. More test "
            "pictures would make it more certain."
        )
    sentences += _weakest(classes, exact.interval.low)
    few = [each.name for each in classes if each.recall.total < FEW]
    if few and len(few) < len(classes):
        named = f"{few[0]} has" if len(few) == 1 else f"{len(few):,} classes have"
        sentences.append(f"{named} fewer than {FEW} test pictures, too few to judge by.")
    elif few:
        sentences.append(f"Every class has fewer than {FEW} test pictures, too few to judge by.")
    if counts is not None:
        sentences += _commonest_confusion(results, counts)
    if suspects:
        pictures = len({suspect.path for suspect in suspects})
        have = "pictures have labels" if pictures > 1 else "picture has a label"
        sentences.append(
            f"{pictures:,} {have} that may be wrong. Check the first of them before you train "
            "again."
        )
    return sentences


def _weakest(classes: Sequence[ClassFigures], accuracy: float) -> list[str]:
    """Name the class with the lowest recall if it is clearly below the accuracy."""
    measured = [each for each in classes if each.recall.total]
    low = min(measured, key=lambda each: each.recall.interval.high)
    if low.recall.interval.high >= accuracy:
        return []
    return [
        f"{low.name} is the weakest class: {low.recall.count:,} of its {low.recall.total:,} test "
        f"pictures are recognised. It has {low.training:,} training "
        f"picture{'s' * (low.training != 1)}."
    ]


def _commonest_confusion(results: Results, counts: Ints) -> list[str]:
    both = counts + counts.T
    np.fill_diagonal(both, 0)
    one, other = divmod(int(both.argmax()), len(counts))
    times = int(both[one, other])
    if times < 2:  # noqa: PLR2004  a single mistake is no pattern
        return []
    return [
        f"{results.classes[one]} and {results.classes[other]} are confused most often: "
        f"{times:,} times in one direction or the other."
    ]
