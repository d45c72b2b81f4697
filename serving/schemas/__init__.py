"""The answers of the server, as clients parse them: one schema for each kind, by topic."""

from serving.schemas.base import NPY, PNG, Answer, ProblemDocument, Share, Size, Stamp
from serving.schemas.classification import (
    Classification,
    ClassifiedPicture,
    ClassSet,
    Features,
    Prediction,
    Verdict,
    Verdicts,
    Worth,
)
from serving.schemas.inspection import (
    Atlas,
    AtlasPicture,
    Drift,
    Explanation,
    Inspection,
    Layer,
    Point,
    Rectangle,
)
from serving.schemas.models import (
    DeviceInfo,
    ModelInfo,
    ModelList,
    SelectedModels,
    UnavailableModel,
)
from serving.schemas.neighbours import Neighbour, Neighbourhood, Neighbours

__all__ = [
    "NPY",
    "PNG",
    "Answer",
    "Atlas",
    "AtlasPicture",
    "ClassSet",
    "Classification",
    "ClassifiedPicture",
    "DeviceInfo",
    "Drift",
    "Explanation",
    "Features",
    "Inspection",
    "Layer",
    "ModelInfo",
    "ModelList",
    "Neighbour",
    "Neighbourhood",
    "Neighbours",
    "Point",
    "Prediction",
    "ProblemDocument",
    "Rectangle",
    "SelectedModels",
    "Share",
    "Size",
    "Stamp",
    "UnavailableModel",
    "Verdict",
    "Verdicts",
    "Worth",
]
