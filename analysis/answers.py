"""The answers of a model to pictures as arrays: class probabilities and features."""

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
class Predictions:
    """The answers of a classifier to N readable pictures."""

    indices: Ints
    """N indices into `Pictures.names`."""
    probabilities: Floats
    """N x C, calibrated; rows sum to 1."""
    labels: Ints
    """N indices of the true class among the model's classes, or `UNKNOWN`."""

    @property
    def predicted(self) -> Ints:
        """N indices of the most probable class."""
        classes: Ints = self.probabilities.argmax(axis=1)
        return classes

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """N booleans: whether the most probable class is the true one."""
        right: npt.NDArray[np.bool_] = self.predicted == self.labels
        return right


@dataclass(frozen=True)
class FeatureVectors:
    """The features of N readable pictures: the input of the model's head."""

    indices: Ints
    """N indices into `Pictures.names`."""
    vectors: npt.NDArray[np.float32]
    """N x D features."""


def classify(
    predictor: Predictor, info: ModelInfo, pictures: Pictures, *, labelled: bool = True
) -> Predictions:
    """Ask for the probabilities of all classes of every picture, which has exactly one of them.

    Args:
        predictor: a server or the artifacts.
        info: description of the model.
        pictures: the pictures to classify.
        labelled: whether every picture must have a class that the model knows.

    Raises:
        VitrineError: the model is not a classifier, or was replaced meanwhile; or the server does
            not answer.
        DataError: no picture can be read; or a picture has no class that the model knows, or may
            have several.
    """
    if info.task == "multi-label":
        raise VitrineError(
            f"{info.name!r} is a multi-label model; this analysis takes models that give each "
            "picture one class."
        )
    if info.task != "classification":
        raise VitrineError(f"{info.name!r} is not a classifier; this analysis needs one.")
    if labelled and pictures.label_sets is not None:
        raise DataError(
            f"{pictures.source}: its pictures have several labels or none; this analysis takes "
            "pictures with one label each."
        )
    index_of = {name: number for number, name in enumerate(info.classes)}
    truth = np.array([index_of.get(name, UNKNOWN) for name in (*pictures.classes, "")])
    labels = truth[pictures.labels]  # UNKNOWN is -1, the index of the last element
    if labelled and (labels == UNKNOWN).any():
        raise DataError(_without_class(pictures, labels, info))
    indices: list[int] = []
    chunks: list[Floats] = []

    def question(images: list[Source]) -> Floats:
        answer = predictor.classify(info.name, images, top=len(info.classes))
        if answer.model.hash != info.hash:
            raise VitrineError(
                f"{info.name} was replaced on the server during the analysis; start it again."
            )
        found = np.zeros((len(images), len(info.classes)))
        for row, picture in zip(found, answer.pictures, strict=True):
            for guess in picture.top:
                row[index_of[guess.label]] = guess.probability
        return found

    for places, probabilities in pictures.ask(f"classes by {info.name}", question):
        indices += places
        chunks.append(probabilities)
    return Predictions(np.array(indices), np.concatenate(chunks), labels[indices])


def name_classes(predictor: Predictor, info: ModelInfo, pictures: Pictures) -> list[str]:
    """Return the most probable class of every readable picture.

    For a multi-label model, these are all classes that are present, joined by `|`.

    Raises:
        VitrineError: the model gives no classes, or was replaced meanwhile; or the server does not
            answer.
        DataError: no picture can be read.
    """
    if info.task != "multi-label":
        answers = classify(predictor, info, pictures, labelled=False)
        return [info.classes[number] for number in answers.predicted]

    def question(images: list[Source]) -> list[str]:
        found = predictor.classify(info.name, images, top=1).pictures
        return ["|".join(p.label for p in picture.top if p.present) for picture in found]

    asked = pictures.ask(f"classes by {info.name}", question)
    return [names for _, chunk in asked for names in chunk]


def features(predictor: Predictor, info: ModelInfo, pictures: Pictures) -> FeatureVectors:
    """Ask for the features of every picture.

    Raises:
        VitrineError: the model has no features, or some are not finite; or the server does not
            answer.
        DataError: no picture can be read.
    """

    def question(images: list[Source]) -> npt.NDArray[np.float32]:
        vectors = predictor.features(info.name, images)
        if not np.isfinite(vectors).all():
            raise VitrineError(f"{info.name} gives features that are not finite; train it again.")
        return vectors

    indices: list[int] = []
    chunks: list[npt.NDArray[np.float32]] = []
    for places, vectors in pictures.ask(f"features of {info.name}", question):
        indices += places
        chunks.append(vectors)
    return FeatureVectors(np.array(indices), np.concatenate(chunks))


def uncalibrated(probabilities: Floats, temperature: float) -> Floats:
    """Return the softmax of the logits before their division by `temperature`.

    Args:
        probabilities: N x C, calibrated.
        temperature: the temperature of the model.
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
        f"knows (the first has {first}); give the folders the names of its classes: {known}."
    )
