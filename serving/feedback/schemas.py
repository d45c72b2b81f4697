"""The answers about feedback."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from artifacts.manifest import Task
from serving.schemas import Answer, Share

Verdict = Literal["right", "wrong"]
"""What is said about an answer without naming the right classes."""


class FeedbackEntry(Answer):
    """What is stored about one answer."""

    id: str = Field(description="32 hexadecimal digits, which name the answer, too")
    model: str
    hash: str = Field(description="sha256 of the ONNX graph that answered")
    version: str = Field(
        description="first 16 digits of the digest of the model's manifest, which also covers its "
        "temperature and thresholds"
    )
    answered: datetime
    given: datetime = Field(description="when the feedback came that is stored now")
    expires: datetime = Field(description="when it will be erased")
    predicted: tuple[str, ...] = Field(
        description="the most probable class; of a multi-label model, the classes that were present"
    )
    probability: Share | None = Field(
        description="calibrated probability of the predicted class; null for a multi-label model"
    )
    correct: bool = Field(description="whether the answer was right")
    labels: tuple[str, ...] | None = Field(
        description="the right classes; null if the answer is only known to be wrong"
    )
    picture: bool = Field(description="whether the picture is kept")


class FeedbackReceipt(Answer):
    """What was erased, and what remains."""

    id: str
    at: datetime
    picture: bool = Field(description="whether a picture was erased, too")
    erased: bool = Field(description="whether no byte of it is left in the database's files")
    remains: tuple[str, ...] = Field(description="what remains, and for how long")


class FeedbackBin(Answer):
    """Answers whose probability was in one of 15 bins of equal width."""

    answers: int
    correct: int
    confidence: Share | None = Field(description="mean probability; null if there are no answers")


class FeedbackFigures(Answer):
    """What feedback says about one version of a model.

    All figures are about answers that somebody commented on. They are those of all answers only if
    feedback is given on a random sample.
    """

    model: str
    hash: str = Field(description="sha256 of the ONNX graph")
    version: str
    task: Task
    answers: int = Field(description="number of answers with feedback")
    correct: int
    labelled: int = Field(description="number whose right classes are known")
    pictures: int = Field(description="number whose picture is kept")
    accuracy: Share = Field(
        description="share of right answers; of a multi-label model, of answers in which every "
        "class is right"
    )
    interval: tuple[Share, Share] = Field(
        description="95 % interval of the accuracy (Wilson 1927), for a random sample"
    )
    confidence: Share | None = Field(
        description="mean probability of the predicted class; this and what follows is null for a "
        "multi-label model"
    )
    ece: float | None = Field(
        description="expected calibration error in 15 bins (Guo et al. 2017); with few answers, "
        "chance alone makes it large"
    )
    brier: float | None = Field(
        description="mean squared difference of the probability of the predicted class and 1 if it "
        "is right, 0 if not (Brier 1950)"
    )
    bins: tuple[FeedbackBin, ...] | None


class FeedbackSummary(Answer):
    """What feedback says about each version of each model."""

    keeps: Literal["labels", "pictures"] = Field(
        description="whether pictures are kept that are sent with feedback"
    )
    days: int = Field(description="days for which feedback is kept")
    models: tuple[FeedbackFigures, ...]
