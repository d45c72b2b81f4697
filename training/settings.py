"""The groups of settings that make up a recipe; they are validated when a recipe is read."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from artifacts.manifest import Task

Size = tuple[int, int]
Precision = Literal["no", "bf16", "fp16"]
"""Automatic mixed precision; no is float32."""
EMBEDDING_LOSSES = ("contrastive", "triplet", "arcface", "distillation")


class StrictSettings:
    """Base of all settings: an unknown key is an error and is not ignored."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)


@dataclass(frozen=True)
class Data(StrictSettings):
    """The data set and how its training split is divided and normalised."""

    name: str
    """Name for `artifacts.datasets.load`, such as cifar10 or image_folder/FOLDER."""
    validation: int
    """Number of training pictures held out for validation. It has no effect on an image_folder with
    a folder of validation pictures, which are used instead."""
    validation_choice: Literal["random", "first-of-class", "last", "classes"] = "random"
    """Which pictures are held out. random: drawn with the recipe's seed. first-of-class: equally
    many of each class, the first in file order. last: the end of the file. classes: all pictures
    of whole classes, drawn with the seed until there are at least `validation` pictures; for
    people, who may appear in one split only."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Train on at most this many pictures and measure on at most as many of the test split, evenly
    spaced in both, to try out what would take long; classifiers only."""
    align: bool = False
    """Train on the largest face of each photograph, detected and aligned as the server does it. A
    photograph in which no face is found is used as it is."""
    size: Size | None = None
    """(height, width) in px to which pictures are resized for training, without keeping their
    aspect ratio; None keeps pictures that are an array of one size already. Metrics are measured
    on the original pictures through the served graph."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mean per channel (R, G, B) of pictures scaled to 0..1, which the graph subtracts."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Standard deviation per channel, by which the graph then divides."""


@dataclass(frozen=True)
class Network(StrictSettings):
    """The network, by its name in `training.networks`, and the options of its builder."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Augment(StrictSettings):
    """Random changes of training batches; evaluation never augments."""

    flip: Literal["none", "random", "alternating"] = "none"
    """alternating: each picture is mirrored in every second epoch (Jordan 2024)."""
    translate: int = 0
    """Maximum shift in either direction, px; the border is filled by reflection."""
    cutout: int = 0
    """Side of a grey square at a random position, px (DeVries & Taylor 2017)."""
    jitter: float = 0.0
    """Brightness, contrast and saturation are scaled by factors of 1 - jitter to 1 + jitter."""
    grey: float = 0.0
    """Share of the pictures (0..1) that lose their colours."""
    rotate: float = 0.0
    """Maximum rotation in either direction, degrees."""
    shift: float = 0.0
    """Maximum shift in either direction, as a fraction of the side; the border is black."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of magnification."""
    stroke: float = 0.0
    """Bright strokes become thicker or thinner by up to this fraction (0..1) of one pixel on each
    side."""
    mixup: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the pictures (0..1) that are blended with another one of the batch, and labelled
    with both (Zhang et al. 2018, arXiv 1710.09412); cross-entropy only, as is `cutmix`."""
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the pictures (0..1) in which a rectangle is replaced by the same part of another
    one, and which are labelled with both (Yun et al. 2019, arXiv 1905.04899)."""
    sizes: tuple[str, ...] = ()
    """Each batch is rescaled to one of these sizes, WIDTHxHEIGHT in px, drawn at random, and then
    into the native range as in serving, so that training matches what the server sees."""
    framed: float = 0.0
    """Share of the pictures (0..1) that are shrunk and surrounded with scenery, so that a network
    whose training pictures are crops learns to find the thing in a photograph."""
    margin: float = 1.0
    """Largest margin of framed pictures, whose width and height are up to 1 + margin times those of
    the crop."""
    scenery: str = "cifar10"
    """Data set whose training pictures are part of the scenery."""
    scenery_without: tuple[str, ...] = ()
    """Classes of that data set that show what the network shall recognise, and are left out."""
    early: float = 0.0
    """Fraction of the run (0..1) that is trained at `early_side`: small pictures cost less, and
    coarse features are learned first (progressive resizing, Howard 2018). `sizes` applies to the
    rest of the run."""
    early_side: int = 0
    """Early pictures are rescaled to the area of a square of this side, px; 0: off."""

    @property
    def mixes(self) -> bool:
        """Whether some pictures are mixtures of two."""
        return self.mixup + self.cutmix > 0


@dataclass(frozen=True)
class Optimizer(StrictSettings):
    """The optimizer, its learning-rate schedule and weight averaging."""

    name: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    lr: float = 1e-3
    """Peak learning rate, which the schedule scales; with muon, that of the convolutions."""
    lr_rest: float = 1.0
    """Learning rate of all weights except convolutions; muon only."""
    trunk_share: float = 1.0
    """Factor on lr for all weights except the head, so that pre-trained ones change less. muon does
    not allow it."""
    momentum: float = 0.9
    """Nesterov momentum; sgd and muon only."""
    weight_decay: float = 0.0
    """Decoupled for adamw, otherwise added to the gradient; only for weights of rank 2 and more."""
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "constant"
    """Factor on lr. constant: 1. cosine and linear: from 1 down to 0 over the run. exponential:
    gamma ** (number of completed steps)."""
    gamma: float = 1.0
    """Factor per step of the exponential schedule."""
    step: int = 1
    """Length of one step of the exponential schedule, epochs."""
    warmup: float = 0.0
    """Fraction of the run (0..1) during which the factor rises linearly from 0."""
    ema: float = 0.0
    """Decay per step of the exponential moving average of the weights; 0: none. The average, if
    any, is what is validated and exported."""


@dataclass(frozen=True)
class Loss(StrictSettings):
    """The training loss: a loss of logits, or one of `EMBEDDING_LOSSES`."""

    name: Literal[
        "cross-entropy",
        "nll",
        "nll-on-logits",
        "doubled-softmax",
        "bce",
        "contrastive",
        "triplet",
        "arcface",
        "distillation",
    ] = "cross-entropy"
    """nll: negative log-likelihood of the log-softmax, which is cross-entropy in two steps.
    nll-on-logits: the same without log-softmax, a bug that is kept for study. doubled-softmax:
    cross-entropy that takes probabilities for logits, as happens when a network ends in softmax;
    kept to show what it costs. bce: binary cross-entropy of each class, for data whose pictures
    have several labels or none.

    Losses of embeddings: contrastive and triplet (`training.faces.pair_losses`); arcface:
    cross-entropy of scaled cosines with an angular margin (Deng et al. 2019, arXiv 1801.07698);
    distillation: the squared distance to the embedding that `teacher` gives the picture, so that
    distances become those of the teacher (Romero et al. 2015, arXiv 1412.6550); see
    `training.faces.teacher`. With `views` it is a loss of logits, and what is learned are the
    probabilities that a classifier gives (Hinton et al. 2015, arXiv 1503.02531); see
    `training.views`."""
    label_smoothing: float = 0.0
    """Fraction of the target spread evenly over all classes; cross-entropy only."""
    margin: float = 1.0
    """Margin: a distance for contrastive and triplet, an angle in radians for arcface."""
    scale: float = 1.0
    """Factor on the cosines; arcface only."""
    mining: Literal["none", "semi-hard", "hard"] = "none"
    """How triplets are chosen. none: a positive and a negative are drawn at random for each
    picture. Otherwise triplets are mined in the batch, which has `per_class` pictures of each of
    its people. semi-hard: all triplets whose negative is farther than the positive but within the
    margin (Schroff et al. 2015). hard: for each picture, the farthest positive and the nearest
    negative (Hermans et al. 2017, arXiv 1703.07737)."""
    per_class: int = 1
    """Pictures of one class that enter a batch together; 1: drawn independently of their class."""
    teacher: str = ""
    """Name of the artifact whose answers are learned; distillation only. An artifact of the same
    name with another graph does not put the trained one out of date."""
    morphs: Annotated[int, Field(ge=0)] = 0
    """Mixtures with pictures of other people that are added for each picture, and that the teacher
    sees as well; distillation of embeddings only. They are faces of nobody, and more than a data
    set has (after Zhang et al. 2018, arXiv 1710.09412)."""
    views: Annotated[int, Field(ge=0)] = 0
    """Number of augmented views of every picture that a teacher classifies; the epochs use them in
    turn. 0: the teacher embeds. Distillation only."""
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the pictures of a view (0..1) that are mixed with another one; needs `views`."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """What the logits of teacher and student are divided by before their probabilities are
    compared; needs `views`."""

    @property
    def embeds(self) -> bool:
        """Whether this is a loss of embeddings rather than of logits."""
        return self.name in EMBEDDING_LOSSES and not self.views

    @property
    def task(self) -> Task:
        """Task of a model that is trained with this loss."""
        if self.embeds:
            return "embedding"
        return "multi-label" if self.name == "bce" else "classification"

    @property
    def score_name(self) -> str:
        """What the accuracies of the history are called, for people who read them."""
        return "mAP" if self.task == "multi-label" else "accuracy"

    @property
    def partners(self) -> tuple[bool | None, ...]:
        """Class of each partner to draw: the same (True), another (False) or either (None)."""
        if self.name == "contrastive":
            return (None,)
        return (True, False) if self.name == "triplet" and self.mining == "none" else ()


@dataclass(frozen=True)
class Evaluation(StrictSettings):
    """What is measured through the exported graph, besides the test split at its own size."""

    sizes: tuple[str, ...] = ()
    """Sizes to which test pictures are rescaled (bicubic) first: WIDTHxHEIGHT in px, or one
    number, the side of a square whose area they get while their aspect ratio is kept."""
    people: tuple[str, ...] = ()
    """More collections of faces on which verification is measured, such as faces/orl; embeddings
    only. A collection that is not available is skipped."""
    smoothed_temperature: bool = False
    """If all of the N validation pictures are classified correctly, fit the temperature to targets
    that allow for an error rate of 1 / (N + 2), so that the model is not taken to be certain."""


@dataclass(frozen=True)
class Svm(StrictSettings):
    """A support-vector machine on the features of a frozen trunk, which replaces a trained head."""

    kernels: tuple[Literal["linear", "poly", "rbf", "sigmoid"], ...]
    """Kernels to fit on standardised features; the best one on validation pictures is kept."""
    c: float = 1.0
    """Weight of misclassifications relative to the width of the margin (C)."""
