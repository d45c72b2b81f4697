"""What a model answers to pictures, as arrays: probabilities of classes, and features."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.inputs import UNKNOWN, Pictures
from artifacts import DataError, VitrineError
from serving.client.chunks import Source
from serving.client.predictor import Predictor
from serving.schemas import ModelInfo

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Classified:
    """What a classifier says about the readable pictures, N of them."""

    indices: Ints
    """N places in `Pictures.names`."""
    probabilities: Floats
    """N x C, calibrated; rows sum to 1."""
    labels: Ints
    """N numbers of the true class among the model's, or `UNKNOWN`."""

    @property
    def predicted(self) -> Ints:
        """N numbers of the most probable class."""
        places: Ints = self.probabilities.argmax(axis=1)
        return places

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """N: whether the most probable class is the true one."""
        right: npt.NDArray[np.bool_] = self.predicted == self.labels
        return right


@dataclass(frozen=True)
class Featured:
    """What the head of a model sees of the readable pictures, N of them."""

    indices: Ints
    """N places in `Pictures.names`."""
    vectors: npt.NDArray[np.float32]
    """N x D."""


def classify(
    predictor: Predictor, info: ModelInfo, pictures: Pictures, *, labelled: bool = True
) -> Classified:
    """Ask for the probabilities of all classes of every picture.

    Args:
        predictor: server or artifacts.
        info: of the model.
        pictures: what to ask about.
        labelled: whether every picture must have a class that the model knows.

    Raises:
        VitrineError: no classifier, the server does not answer, or from another model now.
        DataError: no picture can be read, or one has no class of the model.
    """
    if info.task != "classification":
        raise VitrineError(f"{info.name!r} is no classifier; this analysis needs one.")
    place = {name: number for number, name in enumerate(info.classes)}
    truth = np.array([place.get(name, UNKNOWN) for name in (*pictures.classes, "")])
    labels = truth[pictures.labels]  # UNKNOWN is -1: the last place
    if labelled and (labels == UNKNOWN).any():
        raise DataError(_without_class(pictures, labels, info))
    indices: list[int] = []
    chunks: list[Floats] = []

    def question(images: list[Source]) -> Floats:
        answer = predictor.classify(info.name, images, top=len(info.classes))
        if answer.model.hash != info.hash:
            raise VitrineError(
                f"{info.name} was exchanged on the server while it was asked; ask it again."
            )
        found = np.zeros((len(images), len(info.classes)))
        for row, picture in zip(found, answer.pictures, strict=True):
            for guess in picture.top:
                row[place[guess.label]] = guess.probability
        return found

    for places, probabilities in pictures.ask(f"classes by {info.name}", question):
        indices += places
        chunks.append(probabilities)
    return Classified(np.array(indices), np.concatenate(chunks), labels[indices])


def features(predictor: Predictor, info: ModelInfo, pictures: Pictures) -> Featured:
    """Ask for the features of every picture.

    Raises:
        VitrineError: the model has no features, or none that are finite, or the server does not
            answer.
        DataError: no picture can be read.
    """

    def question(images: list[Source]) -> npt.NDArray[np.float32]:
        vectors = predictor.features(info.name, images)
        if not np.isfinite(vectors).all():
            raise VitrineError(f"{info.name} gives features that are not finite; train it anew.")
        return vectors

    indices: list[int] = []
    chunks: list[npt.NDArray[np.float32]] = []
    for places, vectors in pictures.ask(f"features of {info.name}", question):
        indices += places
        chunks.append(vectors)
    return Featured(np.array(indices), np.concatenate(chunks))


def uncalibrated(probabilities: Floats, temperature: float) -> Floats:
    """Softmax of the logits as they were before they were divided by `temperature`.

    Args:
        probabilities: N x C, calibrated.
        temperature: of the model.
    """
    logs = temperature * np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    rows: Floats = powers / powers.sum(axis=1, keepdims=True)
    return rows


def _without_class(pictures: Pictures, labels: Ints, info: ModelInfo) -> str:
    number = int((labels == UNKNOWN).sum())
    first = pictures.label(int((labels == UNKNOWN).argmax())) or "none"
    known = ", ".join(info.classes[:5]) + (", …" if len(info.classes) > 5 else "")  # noqa: PLR2004
    return (
        f"{pictures.source}: {number} of {len(pictures)} pictures have no class that {info.name} "
        f"knows (the first has {first}); name the folders as its classes: {known}."
    )
