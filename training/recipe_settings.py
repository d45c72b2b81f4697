"""All settings of a recipe; `training.recipe` reads them from files."""

import hashlib
import json
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from artifacts import InputPolicy
from artifacts.input_policy import Normalisation
from artifacts.manifest import check_route
from training.recipe_errors import SettingError
from training.recipe_paths import as_written
from training.settings import (
    Augment,
    Data,
    Evaluation,
    Loss,
    Network,
    Optimizer,
    Precision,
    Size,
    StrictSettings,
    Svm,
)

Profile = Literal["full", "cpu", "smoke"]
PROFILES: tuple[Profile, ...] = ("full", "cpu", "smoke")
AUTO = 0
"""What the batch size `auto` is read as."""
REFERENCE_BATCH = 256
"""Pictures per batch for which the learning rate is given if the batch size is `auto`."""


@dataclass(frozen=True)
class Recipe(StrictSettings):
    """All settings of a training run."""

    name: str
    title: str
    data: Data
    network: Network
    epochs: int
    batch_size: Annotated[int, BeforeValidator(lambda value: AUTO if value == "auto" else value)]
    """Pictures per batch, over all devices together. `auto`: as many as fit the memory of the GPU;
    `lr` is then that of 256 pictures. See `training.batch_size`."""
    study: str | None = None
    route: str | None = None
    """Purpose whose address the model also serves; see `artifacts.manifest.check_route`."""
    default: bool = False
    seed: int = 0
    precision: Annotated[
        Precision, BeforeValidator(lambda value: "no" if value is False else value)
    ] = "no"
    """Automatic mixed precision; see `training.device.used_precision`. YAML reads an unquoted `no`
    as false, which is the same here."""
    native_side: tuple[int, int] | None = None
    """(min, max) side of the pictures that are served unscaled, px; chosen on validation pictures.
    Other pictures are scaled into this range."""
    detail: int | None = None
    """Shorter side in px to which longer pictures are shrunk before they are rescaled, so that they
    have no finer details than the training pictures; see `InputPolicy`."""
    max_aspect: float | None = None
    """Greatest aspect ratio; longer pictures are squashed to it. See `InputPolicy`."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Filter of the rescaling that `native_side`, `detail` and `fixed_size` ask for. bilinear gives
    softer pictures. Pictures that training frames are bicubic in any case."""
    fixed_size: Size | None = None
    """(height, width) in px of a network that takes a single size only."""
    drawing: Literal["mnist"] | None = None
    """How drawings are normalised in serving and when the model is measured; see `InputPolicy`.
    Training pictures are taken to be normalised already."""
    cache: Literal["none", "fp32", "bf16", "fp16"] = "none"
    """Precision in which the outputs of the frozen layers are cached on disk. They are computed
    once, so that epochs only run the layers behind them. Flips are the only augmentation that
    this allows."""
    head_from: str | None = None
    """Name of the recipe whose trained head is the initial head; it is trained first if missing."""
    continue_from: str | None = None
    """Name of the recipe whose trained network, trunk and head, is the initial network; it is
    trained first if missing. It takes the place of `head_from`."""
    parent_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the weights of `continue_from` in the averages that are published; see
    `training.blending`. Choose it on validation pictures of the sizes that matter."""
    svm: Svm | None = None
    """Fit a support-vector machine instead of training; the trunk is frozen and `epochs` unused."""
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer = field(default_factory=Optimizer)
    loss: Loss = field(default_factory=Loss)
    evaluation: Evaluation = field(default_factory=Evaluation)
    reported: dict[str, float] = field(default_factory=dict)
    """Figures that the source study reported; the keys are metric/split, as in artifacts."""
    search: dict[str, list[float]] = field(default_factory=dict)
    """Values that a search draws from, by the dotted name of the setting, such as optimizer.lr."""
    remark: str = ""
    """A result that the study stated in words, or the reason for a difference from the study."""
    profile: Profile = "full"
    command: str = ""
    """The command that trains it; empty for `vitrine train run NAME --profile PROFILE`."""
    file: str = ""
    """Absolute path of its file, as `FILE.yaml` or `FILE.yaml:VARIANT`; empty for the project's own
    recipes."""

    def __post_init__(self) -> None:
        """Raise SettingError for settings that exclude each other, and for a wrong route."""
        try:
            check_route(self.route, self.loss.task)
        except ValueError as error:
            raise SettingError("route", f"route {self.route!r}: {error}") from None
        self._check_parent()
        if self.optimizer.name == "muon" and self.optimizer.trunk_share != 1.0:
            raise SettingError(
                "optimizer.trunk_share",
                "the optimizer muon has no rate of its own for the trunk; remove trunk_share or "
                "choose another optimizer.",
            )
        self._check_batch_size()
        self._check_mixing()
        self._check_teacher()
        if self.loss.task == "multi-label":
            self._check_multi_label()
        if not self.loss.embeds:
            return
        if self.cache != "none" or self.svm:
            setting = "cache" if self.cache != "none" else "svm"
            raise SettingError(
                setting, "a loss of embeddings allows neither cache nor svm; remove them"
            )
        if self.data.limit is not None:
            raise SettingError(
                "data.limit", "a loss of embeddings needs all pictures of each person; remove it"
            )
        if self.data.validation_choice != "classes":
            raise SettingError(
                "data.validation_choice",
                "a loss of embeddings needs data.validation_choice: classes",
            )
        if (self.loss.name == "arcface") != (self.network.options.get("head") == "cosine"):
            raise SettingError(
                "loss.name",
                "the loss arcface needs network.options.head: cosine; no other loss takes it",
            )

    def _check_parent(self) -> None:
        if self.head_from and self.continue_from:
            raise SettingError(
                "continue_from",
                "a recipe starts from one other: remove head_from, because the network that "
                "training continues from has a head.",
            )
        if self.parent_share and not self.continue_from:
            message = "it is a share of the weights that continue_from names; set that as well."
            raise SettingError("parent_share", message)

    def _check_teacher(self) -> None:
        default = Loss()
        for name in ("teacher", "morphs", "views"):
            changed = getattr(self.loss, name) != getattr(default, name)
            if changed and self.loss.name != "distillation":
                raise SettingError(f"loss.{name}", "only the loss distillation takes it; remove it")
        for name in ("mixed", "temperature"):
            if getattr(self.loss, name) != getattr(default, name) and not self.loss.views:
                raise SettingError(f"loss.{name}", "it needs loss.views, the views to learn from")
        if self.loss.name != "distillation":
            return
        if not self.loss.teacher:
            raise SettingError(
                "loss.teacher", "the loss distillation needs the name of an artifact, faces-dlib"
            )
        if self.loss.views and (self.loss.morphs or self.cache != "none" or self.svm):
            setting = "loss.morphs" if self.loss.morphs else "cache" if self.svm is None else "svm"
            raise SettingError(setting, "learning from loss.views does not allow it; remove it")
        if self.loss.per_class > 1:
            raise SettingError("loss.per_class", "the loss distillation needs loss.per_class: 1")

    def _check_batch_size(self) -> None:
        if self.batch_size < 0:
            raise SettingError("batch_size", "give a number of pictures, or auto")
        if self.batch_size == AUTO and self.optimizer.name == "muon":
            raise SettingError(
                "batch_size",
                "the rates of the optimizer muon hold for one batch size only; give a number of "
                "pictures instead of auto, or choose another optimizer.",
            )

    def _check_mixing(self) -> None:
        setting = "augment.cutmix" if self.augment.cutmix else "augment.mixup"
        if self.augment.mixes and self.loss.name != "cross-entropy":
            raise SettingError(setting, "only the loss cross-entropy takes it; remove it")
        if self.augment.mixup + self.augment.cutmix > 1:
            raise SettingError(
                setting, "mixup and cutmix are shares of all pictures; let them add up to 1 at most"
            )

    def _check_multi_label(self) -> None:
        if self.svm:
            raise SettingError("svm", "the loss bce allows no svm; remove one of the two")
        if self.data.validation_choice not in ("random", "last"):
            raise SettingError(
                "data.validation_choice",
                "the loss bce needs data.validation_choice: random or last, because a picture may "
                "have several classes",
            )
        if self.loss.per_class > 1:
            raise SettingError("loss.per_class", "the loss bce needs loss.per_class: 1")

    @property
    def artifact_name(self) -> str:
        """Name of the artifact. A smoke run has a name of its own and never replaces the model."""
        return f"{self.name}-smoke" if self.profile == "smoke" else self.name

    @property
    def parent(self) -> str | None:
        """Name of the recipe that this one starts from, by `continue_from` or `head_from`."""
        return self.continue_from or self.head_from

    @property
    def policy(self) -> InputPolicy:
        """How pictures of any size are prepared for the network, in training and in serving."""
        return InputPolicy(
            drawing=self.drawing,
            native_side=self.native_side,
            detail=self.detail,
            max_aspect=self.max_aspect,
            interpolation=self.interpolation,
            fixed_size=self.fixed_size,
            normalisation=Normalisation(mean=self.data.mean, std=self.data.std),
        )

    @property
    def hash(self) -> str:
        """sha256 of the settings that influence the result of training.

        It leaves out texts, reported figures and the name of the profile, whose settings are
        applied already. Settings with their default value are left out too, so that adding a
        setting does not put every artifact out of date. Paths below the folder of the recipe's file
        count relative to it, so that both may be moved together.
        """
        settings = as_written(non_default(self), self.file)
        for key in (
            "title",
            "study",
            "reported",
            "remark",
            "route",
            "default",
            "profile",
            "command",
            "file",
            "search",
        ):
            settings.pop(key, None)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def as_text(self) -> str:
        """Return the settings as a recipe file, with the profile applied and without defaults."""
        settings = non_default(self)
        for key in ("profile", "command", "file"):
            settings.pop(key, None)
        if self.batch_size == AUTO:
            settings["batch_size"] = "auto"
        plain = json.loads(json.dumps(settings))  # PyYAML has a notation of its own for tuples
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        return (
            f"# The settings of this model's training, with profile {self.profile} applied.\n{text}"
        )


def non_default(settings: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults; nested dataclasses become dictionaries."""
    result: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if value != default:
            result[f.name] = non_default(value) if is_dataclass(value) else value
    return result
