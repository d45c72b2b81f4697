"""Adds verdicts and sets of classes to a classifier: what its manifest and its files then hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from artifacts.artifact import Artifact
from artifacts.datasets.base import spread, take
from artifacts.errors import ArtifactError
from artifacts.known.detector import KNOWN_FILE
from artifacts.known.fitting import (
    COPIES,
    LEAST,
    Material,
    Seen,
    fit,
    look,
    look_all,
    look_at_copies,
)
from artifacts.known.outliers import Images, Pictures
from artifacts.known.record import KnownRecord, SetsRecord
from artifacts.known.sets import calibrate, check
from artifacts.manifest import Manifest
from artifacts.runtime import Runtime

TRAIN = 6000
"""Maximum number of training pictures that the space is fitted on."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labelled(Pictures):
    """Pictures with their class indices."""

    labels: Labels


@dataclass(frozen=True)
class Sources:
    """The pictures that verdicts and sets are fitted and measured on."""

    train: Labelled
    validation: Labelled
    """Pictures that the model was not trained on."""
    test: Labelled | None
    """Pictures that nothing was chosen on; None if there are none."""
    declared: Sequence[Pictures]
    """Pictures of other things, with which the method is chosen and fitted."""
    unseen: Sequence[Pictures] = field(default=())
    """Pictures of yet other things, on which the verdicts are measured."""
    elsewhere: Sequence[Pictures] = field(default=())
    """Pictures of known kinds from elsewhere, on which the verdicts are measured."""
    surrounded: Pictures | None = None
    """The validation pictures with scenery as in training, if training added some. Thresholds of
    verdicts are set on them, while sets of classes are calibrated on `validation`."""


@dataclass(frozen=True)
class Added:
    """What a manifest and an artifact get."""

    known: KnownRecord | None
    sets: SetsRecord
    files: dict[str, bytes]

    @property
    def fields(self) -> dict[str, KnownRecord | SetsRecord | None]:
        """The fields of the manifest."""
        return {"known": self.known, "sets": self.sets}


def measure(runtime: Runtime, temperature: float, sources: Sources) -> Added:
    """Fit and measure verdicts and sets of a classifier.

    Without features, or with fewer than `LEAST` validation pictures, there are no verdicts.

    Args:
        runtime: of the graph that is served.
        temperature: divisor of the logits.
        sources: the pictures.
    """
    validation, test, shown = sources.validation, sources.test, sources.surrounded
    if "features" not in runtime.output_names or len(validation.labels) < LEAST:
        logits = _logits(runtime, validation.images)
        return Added(None, _sets(logits, validation, None, None, temperature), {})
    seen = look(runtime, validation.name, validation.images)
    tested = None if test is None else look(runtime, test.name, test.images)
    chosen = spread(len(sources.train.labels), TRAIN)
    first = spread(len(validation.labels), COPIES)
    copied = f"{validation.name}, resized and compressed"
    record, detector = fit(
        Material(
            train=look(runtime, sources.train.name, take(sources.train.images, chosen)),
            labels=sources.train.labels[chosen],
            validation=seen if shown is None else look(runtime, shown.name, shown.images),
            copies=look_at_copies(runtime, copied, take(validation.images, first)),
            declared=look_all(runtime, sources.declared),
            unseen=look_all(runtime, sources.unseen),
            known=[
                *([] if tested is None else [tested]),
                *look_all(runtime, sources.elsewhere),
            ],
        )
    )
    sets = _sets(seen.logits, validation, tested, test, temperature)
    return Added(record, sets, {KNOWN_FILE: detector.write()})


def add(artifact: Artifact, sources: Sources) -> Artifact:
    """Fit and measure verdicts and sets of a classifier, and write its artifact with them.

    Raises:
        ArtifactError: the model is no classifier whose pictures have one class each.
    """
    check_task(artifact.manifest)
    files = {n: c for n, c in artifact.contents().items() if n != KNOWN_FILE}
    added = measure(Runtime.open(artifact), artifact.manifest.temperature, sources)
    manifest = artifact.manifest.model_copy(update=added.fields)
    return artifact.rewrite(manifest, files | added.files)


def check_task(manifest: Manifest) -> None:
    """Check that a model can have verdicts and sets.

    Raises:
        ArtifactError: the model is no classifier whose pictures have one class each.
    """
    if manifest.task != "classification" or len(manifest.classes) < 2:  # noqa: PLR2004
        raise ArtifactError(
            f"{manifest.name} is not a classifier with one class a picture; verdicts and sets of "
            "classes are only for such models."
        )


def _sets(
    logits: npt.NDArray[np.float32],
    validation: Labelled,
    tested: Seen | None,
    test: Labelled | None,
    temperature: float,
) -> SetsRecord:
    record = calibrate(logits, validation.labels, temperature, validation.name)
    if tested is None or test is None:
        return record
    return check(record, tested.logits, test.labels, temperature, test.name)


def _logits(runtime: Runtime, images: Images) -> npt.NDArray[np.float32]:
    from artifacts.runtime import in_chunks  # noqa: PLC0415

    return np.concatenate([runtime.run(c, ["logits"])["logits"] for c in in_chunks(images)])
