"""Settings of one concern each, of which a recipe is made; checked when a recipe is read."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict

Size = tuple[int, int]
EMBEDDING_LOSSES = ("contrastive", "triplet", "arcface")


class Closed:
    """A setting nobody knows is an error, not a comment."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)


@dataclass(frozen=True)
class Data(Closed):
    """What is learned from."""

    name: str
    """As `artifacts.datasets.load` takes it: cifar10, image_folder/FOLDER, synthetic/objects."""
    validation: int
    """Training pictures held out to validate."""
    validation_choice: Literal["random", "first-of-class", "last", "classes"] = "random"
    """random: drawn by the recipe's seed. first-of-class: the first of each class in the file's
    order, equally many. last: the end of the file. classes: all pictures of classes drawn by the
    seed, until there are as many as asked; for people, whom no other split may show."""
    align: bool = False
    """Pictures are photographs of people: train on their largest face, found and aligned as the
    server does it. Where none is found, the picture is taken as it is."""
    size: Size | None = None
    """(height, width), px, that pictures are squashed to while training; None keeps arrays as they
    are. Metrics are measured on the pictures as they are, through the served graph."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted per channel (R, G, B) from pictures scaled to 0..1; part of the graph."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by, per channel; part of the graph."""


@dataclass(frozen=True)
class Network(Closed):
    """Which network, by its name in `training.networks`."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Augment(Closed):
    """Random changes of training batches; evaluation never augments."""

    flip: Literal["none", "random", "alternating"] = "none"
    """alternating: each picture is mirrored in every second epoch (Jordan 2024)."""
    translate: int = 0
    """Greatest shift in px each way; the border is filled by reflection."""
    cutout: int = 0
    """Side of a grey square put at random, px (DeVries & Taylor 2017)."""
    jitter: float = 0.0
    """Brightness, contrast and saturation are each multiplied by up to 1 -/+ this."""
    rotate: float = 0.0
    """Greatest rotation each way, degrees."""
    shift: float = 0.0
    """Greatest shift each way as a share of the side; what comes in is black."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of magnification."""
    sizes: tuple[str, ...] = ()
    """Each batch is rescaled to one of these WIDTHxHEIGHT, px, drawn at random, and then into the
    native range as the served model would: it learns what it will be shown."""
    early: float = 0.0
    """Share of the run (0..1) that is trained at `early_side`: small pictures cost less, and what
    is coarse is learned first (progressive resizing, Howard 2018). `sizes` holds for the rest."""
    early_side: int = 0
    """Early pictures are rescaled to the area of a square of this side, px; 0 for none."""


@dataclass(frozen=True)
class Optimizer(Closed):
    """How weights move."""

    name: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    lr: float = 1e-3
    """Peak learning rate, before the schedule's factor; of muon, for convolutions."""
    lr_rest: float = 1.0
    """Learning rate of all but convolutions; muon only."""
    trunk_share: float = 1.0
    """Factor on lr for all but the head: what was learned before moves less. Not for muon."""
    momentum: float = 0.9
    """Nesterov momentum; sgd and muon only."""
    weight_decay: float = 0.0
    """Decoupled for adamw, added to the gradient otherwise; weights of rank 2 and more only."""
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "constant"
    """Factor on lr: constant 1; down to 0 over the run along a half cosine or a line; or
    gamma ** steps done."""
    gamma: float = 1.0
    """Of the exponential schedule, per step."""
    step: int = 1
    """Epochs of one step of the exponential schedule."""
    warmup: float = 0.0
    """Share of the run (0..1) in which the factor rises from 0 in a line."""
    ema: float = 0.0
    """Decay per step of averaged weights, which then are the ones validated and exported."""


@dataclass(frozen=True)
class Loss(Closed):
    """What training makes small: a loss of logits, or one of `EMBEDDING_LOSSES`."""

    name: Literal[
        "cross-entropy",
        "nll",
        "nll-on-logits",
        "doubled-softmax",
        "contrastive",
        "triplet",
        "arcface",
    ] = "cross-entropy"
    """nll: of log-softmax, which is cross-entropy in two steps. nll-on-logits: the same without
    log-softmax, a bug kept to be looked at. doubled-softmax: cross-entropy of probabilities taken
    for logits, as where a network ends in softmax; kept to show its cost.

    Of embeddings: contrastive and triplet (`training.pair_losses`); arcface: cross-entropy of
    scaled cosines with an angular margin (Deng et al. 2019, arXiv 1801.07698)."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes; cross-entropy only."""
    margin: float = 1.0
    """Of contrastive and triplet a distance, of arcface an angle, radians."""
    scale: float = 1.0
    """Factor on the cosines of arcface."""
    mining: Literal["none", "semi-hard", "hard"] = "none"
    """Of triplets. none: each picture's partners are drawn at random. Otherwise they are found in
    the batch, by `per_class` pictures of each person in it. semi-hard: all whose other person is
    farther, but within the margin (Schroff et al. 2015). hard: of each picture its farthest of the
    same person and its nearest of another (Hermans et al. 2017, arXiv 1703.07737)."""
    per_class: int = 1
    """Pictures of one class that enter a batch together; 1: drawn without regard to class."""

    @property
    def embeds(self) -> bool:
        """Whether it is a loss of embeddings, which know people that no training picture shows."""
        return self.name in EMBEDDING_LOSSES

    @property
    def partners(self) -> tuple[bool | None, ...]:
        """Partners drawn for each picture: of its class (True), of another (False), or either."""
        if self.name == "contrastive":
            return (None,)
        return (True, False) if self.name == "triplet" and self.mining == "none" else ()


@dataclass(frozen=True)
class Evaluation(Closed):
    """What is measured through the exported graph besides the data set's own size."""

    sizes: tuple[str, ...] = ()
    """WIDTHxHEIGHT in px, or one side whose square's area they get with their aspect ratio kept;
    test pictures are rescaled (bicubic) before they are shown."""
    people: tuple[str, ...] = ()
    """Collections of faces, such as faces/orl, whose people are all told apart, too; of embeddings
    only. One that is not at hand is left out."""


@dataclass(frozen=True)
class Svm(Closed):
    """A support-vector machine on the features of a frozen trunk, in place of a trained head."""

    kernels: tuple[Literal["linear", "poly", "rbf", "sigmoid"], ...]
    """Each is fitted on standardised features; the best on validation pictures is kept."""
    c: float = 1.0
    """Weight of the errors against the width of the margin."""
