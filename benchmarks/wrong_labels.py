"""Measures how many labels that `training.pictures.suspects` lists were really changed.

Some labels of test pictures are changed, at random or to the class that the model confuses most,
and searched for with the probabilities of a model that was not trained on these pictures. Labels
that are wrong in the data set count as right, so that the true precision is a little higher.

    python -m benchmarks.wrong_labels
"""

from collections.abc import Sequence

import click
import numpy as np

from artifacts import Artifact, Runtime
from artifacts.datasets import load
from artifacts.datasets.base import take
from training.evaluate import run_logits
from training.pictures.page import MAX_CARDS
from training.pictures.results import Floats, Ints
from training.pictures.suspects import suspicious

MODELS = (("cifar10-fast", "cifar10"), ("cars-lite0-finetuned", "stanford_cars"))
RATES = (0.01, 0.05)
KINDS = ("random", "confused")
REPEATS = 5


def answers(model: str, data: str, pictures: int) -> tuple[Floats, Ints]:
    """Return a model's probabilities N x C of random test pictures, and their labels N."""
    artifact = Artifact.open(model)
    test = load(data, "test")
    chosen = np.random.default_rng(0).permutation(len(test))[:pictures]
    runtime = Runtime(artifact.read_graph(), artifact.manifest.input)
    logits = run_logits(runtime, take(test.images, chosen)).astype(np.float64)
    odds = np.exp((logits - logits.max(axis=1, keepdims=True)) / artifact.manifest.temperature)
    return odds / odds.sum(axis=1, keepdims=True), test.labels[chosen]


def changed(probabilities: Floats, labels: Ints, kind: str, rate: float, seed: int) -> Ints:
    """Return the labels with a share of them changed."""
    generator = np.random.default_rng(seed)
    classes = probabilities.shape[1]
    places = generator.permutation(len(labels))[: round(rate * len(labels))]
    result = labels.copy()
    if kind == "random":
        shift = generator.integers(1, classes, len(places))
        result[places] = (labels[places] + shift) % classes
        return result
    means = np.stack([probabilities[labels == c].mean(axis=0) for c in range(classes)])
    np.fill_diagonal(means, 0)
    result[places] = means.argmax(axis=1)[labels[places]]
    return result


def trial(
    probabilities: Floats, labels: Ints, kind: str, rate: float, seed: int
) -> Sequence[float]:
    """Return the length of the list, its precision, its recall, and the precision of its top."""
    given = changed(probabilities, labels, kind, rate, seed)
    wrong = given != labels
    found, _ = suspicious(given, probabilities)
    hits = wrong[found]
    return len(found), hits.mean(), hits.sum() / wrong.sum(), hits[:MAX_CARDS].mean()


@click.command()
@click.option("--pictures", default=3000, show_default=True, help="Test pictures of each data set.")
def main(pictures: int) -> None:
    """Print a Markdown table of the mean of five trials each."""
    print(
        "| model | accuracy | labels changed | listed | precision | recall | "
        f"precision of the first {MAX_CARDS} |"
    )
    print("|---|---|---|---|---|---|---|")
    for model, data in MODELS:
        probabilities, labels = answers(model, data, pictures)
        accuracy = (probabilities.argmax(axis=1) == labels).mean()
        for kind in KINDS:
            for rate in RATES:
                trials = [trial(probabilities, labels, kind, rate, s) for s in range(REPEATS)]
                listed, precision, recall, top = np.mean(trials, axis=0)
                print(
                    f"| {model} | {accuracy:.3f} | {rate:.0%}, {kind} | {listed:.0f} | "
                    f"{precision:.2f} | {recall:.2f} | {top:.2f} |"
                )


if __name__ == "__main__":
    main()
