"""What can be asked of a model, on a server or in this process."""

from collections.abc import Sequence
from typing import Protocol

from serving.client.chunks import Rows, Source
from serving.schemas import (
    Classification,
    Drift,
    EachClassification,
    Explanation,
    Inspection,
    ModelInfo,
)


class Predictor(Protocol):
    """The methods that `Client` and `LocalPredictor` have in common.

    The pictures of one call may differ in size. Every method raises a `VitrineError` with a message
    of one line if there is no answer; it is a `RequestError` if the model or a picture is refused.
    """

    def models(self) -> list[ModelInfo]:
        """The models that can be asked."""

    def model_info(self, name: str) -> ModelInfo:
        """What is known about one model."""

    def classify(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> Classification:
        """The `top` most probable classes of each picture.

        Of a multi-label model, the answer also has every other class that is present.

        Args:
            name: of the model.
            pictures: at least one.
            top: number of classes wanted.
            keep: share of known pictures that get the verdict `known`; None for 0.95.
            coverage: frequency with which the set of classes of a picture holds the truth; None
                for no sets.
        """

    def classify_each(
        self,
        name: str,
        pictures: Sequence[Source],
        top: int = 5,
        keep: float | None = None,
        coverage: float | None = None,
    ) -> EachClassification:
        """The same, with the problem in the place of each picture that is refused.

        `classify`, by contrast, raises the first such problem and answers no picture.
        """

    def features(self, name: str, pictures: Sequence[Source]) -> Rows:
        """The input of the network's head for each picture: float32 N x D."""

    def inspect(self, name: str, pictures: Sequence[Source]) -> Inspection:
        """The shares of exact zeros after each activation, over all pictures."""

    def feature_map(self, name: str, picture: Source, layer: str) -> Rows:
        """The output of one activation for one picture: float32 C x H x W."""

    def explain(self, name: str, picture: Source, label: str | None = None) -> Explanation:
        """Which parts of a picture speak for a class; for the most probable one by default."""

    def drift(self, name: str) -> Drift:
        """The distance of a server's recent answers from the model's reference, with moments."""
