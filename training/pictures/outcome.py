"""What a finished run on own pictures found, collected for its page and its last lines."""

import shlex
from functools import partial
from pathlib import Path

import numpy as np

from artifacts import Artifact, probabilities
from artifacts.agreement import measuring_runtime
from artifacts.datasets.base import FileImages, ImageSet
from artifacts.provenance import hardware
from training.data import Splits
from training.evaluate import fit_temperature, run_logits
from training.pictures.candidates import TITLES
from training.pictures.head import Features, cross_validated
from training.pictures.inspection import Inspection
from training.pictures.measures import indicators
from training.pictures.plan import Plan
from training.pictures.results import Candidate, Floats, Ints, Results, Rows

SERVER = "http://localhost:3000"
"""Address of a server that was started with `vitrine serve` on this machine."""


def collect(
    artifact: Artifact,
    inspection: Inspection,
    findings: tuple[str, ...],
    splits: Splits,
    test: ImageSet,
    features: Features,
    plan: Plan,
) -> Results:
    """Run the artifact on validation and test pictures and collect what is known about the run.

    Args:
        artifact: The model.
        inspection: The inspected pictures.
        findings: What the owner was told about them, in sentences.
        splits: Training and validation pictures.
        test: Test pictures.
        features: Features of the frozen layers, for answers about training pictures by heads that
            did not see them.
        plan: What was tried and chosen.
    """
    manifest = artifact.manifest
    assert manifest.run is not None  # noqa: S101 - publish writes it
    # the page shows the figures of the manifest, so that both are measured in the same place
    runtime, _ = measuring_runtime(artifact.read_graph(), manifest.input, manifest.providers)
    sizes = {p.entry.path.resolve(): (p.width, p.height) for p in inspection.pictures}
    held_out = splits.validation
    classes = len(splits.classes)
    unseen = cross_validated(features, classes, plan.strength or 1e-2, manifest.run.seed).numpy()
    train_labels = splits.train.labels.numpy()
    rate = partial(probabilities, temperature=manifest.temperature, task=manifest.task)
    return Results(
        name=manifest.name,
        command=manifest.run.command,
        seed=manifest.run.seed,
        hardware=hardware(),
        seconds=plan.spent,
        classes=splits.classes,
        root=inspection.collection.root,
        training_counts=tuple(indicators(train_labels, classes).sum(axis=0).tolist()),
        test=_rows(
            _paths(test.images),
            test.labels,
            rate(run_logits(runtime, test.images)),
            sizes,
        ),
        validation=_rows(
            _paths(held_out.originals),
            held_out.labels.numpy(),
            rate(run_logits(runtime, held_out.originals)),
            sizes,
        ),
        training=_rows(
            _paths(splits.train.originals),
            train_labels,
            probabilities(
                unseen, fit_temperature(unseen, train_labels, smoothed=True), manifest.task
            ),
            sizes,
        ),
        findings=findings,
        unreadable=inspection.unreadable,
        duplicates=tuple(
            tuple(inspection.pictures[i].entry.path for i in group)
            for group in inspection.duplicates
        ),
        candidates=tuple(
            Candidate(TITLES[part], tried.seconds, tried.accuracy or 0.0, part == plan.chosen)
            for part, tried in plan.candidates.items()
        ),
        thresholds=manifest.thresholds,
    )


def curl(name: str, picture: Path) -> str:
    """Return the shell command that asks a local server about a picture."""
    return f"curl --data-binary @{shlex.quote(str(picture))} {SERVER}/v1/models/{name}/classify"


def _rows(
    paths: tuple[Path, ...],
    labels: Ints,
    shares: Floats,
    sizes: dict[Path, tuple[int, int]],
) -> Rows:
    measured = np.array([sizes[path.resolve()] for path in paths], np.int64)
    return Rows(paths, labels, shares, measured)


def _paths(images: object) -> tuple[Path, ...]:
    assert isinstance(images, FileImages)  # noqa: S101 - a table lists files
    return tuple(images.paths)
