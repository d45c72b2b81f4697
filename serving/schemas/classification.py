"""Answers of classifiers, and the features of pictures."""

from typing import Literal

from pydantic import Field

from serving.schemas.base import Answer, Entry, RefusedPicture, Share, Size, Stamp


class Prediction(Answer):
    """One class and its probability."""

    label: str = Field(alias="class")
    probability: Share = Field(
        description="calibrated probability: softmax of logits / temperature; of a multi-label "
        "model, the sigmoid of the logit / temperature"
    )
    threshold: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of a multi-label model: the class is present from this probability on",
    )
    present: bool | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of a multi-label model: whether the probability reaches the threshold",
    )


Verdict = Literal["known", "cannot_say"]


class Worth(Answer):
    """A share of pictures with its 95 % interval (Wilson)."""

    share: Share
    low: Share
    high: Share
    pictures: int = Field(description="number of pictures that it was measured on")
    data: tuple[str, ...] = Field(description="names of their data sets")


class Verdicts(Answer):
    """What the verdicts of an answer are worth."""

    offered: bool = Field(description="whether the pictures have a verdict")
    reason: str | None = Field(
        default=None, exclude_if=lambda v: v is None, description="why they have none"
    )
    method: str | None = Field(default=None, exclude_if=lambda v: v is None)
    keep: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of known pictures that the threshold keeps, as asked by `keep`",
    )
    threshold: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="pictures with a lower score get `cannot_say`",
    )
    kept: Worth | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of known pictures, on which nothing was chosen, that get `known`",
    )
    refused: Worth | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of pictures of other things that get `cannot_say`",
    )
    seen: bool | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="whether the method was chosen and fitted with other pictures of those kinds; "
        "fewer pictures of kinds that it has not seen are refused",
    )


class ClassSet(Answer):
    """The smallest set of classes that holds the truth with a frequency."""

    coverage: Share = Field(
        description="how often such sets hold the true class, over pictures like those calibrated "
        "on; not for each picture or class"
    )
    classes: tuple[str, ...] = Field(
        description="most probable class first; empty if no class is probable enough, as happens "
        "where the coverage is below the accuracy of the model"
    )


class ClassifiedPicture(Entry):
    """The answer for one picture."""

    id: str | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only if the server takes feedback: names this answer at `/v1/feedback`",
    )
    size: Size = Field(description="size as sent, turned upright")
    shown: Size = Field(description="size as the network saw it")
    treatment: str = Field(
        examples=[
            "shown as it is",
            "rescaled 1024x768 -> 74x55",
            "rescaled 500x375 -> 341x256, cropped to 224x224",
            "inverted, cropped to the drawing 112x180 at (40, 60), scaled to 12x20, centred",
        ]
    )
    top: tuple[Prediction, ...] = Field(
        description="most probable class first; of a multi-label model, the classes asked for by "
        "`top` and every other class that is present"
    )
    verdict: Verdict | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="whether the picture is like those that the model knows; only of models with "
        "`verdicts`, which say what this is worth",
    )
    score: Share | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="share of the model's validation pictures that look no more familiar",
    )
    class_set: ClassSet | None = Field(
        default=None,
        alias="set",
        exclude_if=lambda v: v is None,
        description="only if `coverage` is given",
    )


class _Classified(Answer):
    """What holds for all pictures of an answer."""

    task: Literal["multi-label"] | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of a multi-label model: every class has a probability of its own, so "
        "that the probabilities of a picture do not sum to one, and a picture may have several "
        "classes or none",
    )
    feedback: Literal["labels", "pictures"] | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only if the server takes feedback: whether it keeps pictures sent with it",
    )
    model: Stamp
    provider: str
    verdicts: Verdicts | None = Field(
        default=None,
        exclude_if=lambda v: v is None,
        description="only of models that were calibrated for verdicts",
    )


class Classification(_Classified):
    """Answer to `classify`: one entry for each picture, in the order sent."""

    pictures: tuple[ClassifiedPicture, ...]


class EachClassification(_Classified):
    """Answer to `classify` with `errors=each`: an entry for each picture, in the order sent."""

    pictures: tuple[ClassifiedPicture | RefusedPicture, ...]


class Features(Answer):
    """Answer to `features`: one row of D floats for each picture, in the order sent."""

    model: Stamp
    provider: str
    features: list[list[float]]


class PictureFeatures(Entry):
    """The features of one picture: D floats."""

    features: list[float]


class EachFeatures(Answer):
    """Answer to `features` with `errors=each`: an entry for each picture, in the order sent."""

    model: Stamp
    provider: str
    pictures: tuple[PictureFeatures | RefusedPicture, ...]
