"""What is known about the preprocessing of a foreign network, until an input policy is complete."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

from pydantic import ValidationError

from artifacts.errors import ArtifactError
from artifacts.imports.inputs import ForeignInput
from artifacts.input_policy import InputPolicy, Interpolation, Normalisation

Resize = Literal["squash", "crop", "pad", "none"]
Scale = Literal["0..1", "0..255", "-1..1"]
Size = tuple[int, int]
"""Height and width in pixels."""
NATIVE = (8, 512)
"""Range of sides, in pixels, of pictures that enter a graph of any size unchanged."""


@dataclass(frozen=True)
class Settings:
    """Preprocessing in the terms of `InputPolicy` and `Normalisation`; None is unknown."""

    resize: Resize | None = None
    size: Size | None = None
    resize_to: int | Size | None = None
    crop_pct: float | None = None
    """Size after the crop divided by the size before it; takes the place of `resize_to`."""
    crop_offset: Literal["round", "floor"] | None = None
    interpolation: Interpolation | None = None
    antialias: bool | None = None
    pad_colour: tuple[int, int, int] | None = None
    colour_order: Literal["rgb", "bgr"] | None = None
    scale: Scale | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def under(self, other: Self) -> Self:
        """Return these settings with those of `other` in place of them, where it has any.

        A rule in `other` also replaces what these settings say about the size before the crop.
        """
        known = {f.name: getattr(other, f.name) for f in fields(other)}
        base = self
        if other.resize or other.resize_to or other.crop_pct:
            base = replace(self, resize_to=None, crop_pct=None)
        return replace(base, **{name: value for name, value in known.items() if value is not None})

    def missing(self, foreign: ForeignInput) -> list[str]:
        """Return the options that are still needed for a graph, each with the values it takes."""
        needed = []
        fixed = self.resize not in {None, "none"}
        if self.resize is None:
            needed.append("--resize squash|crop|pad|none")
        if fixed and self.size is None and None in foreign.size:
            needed.append("--size HEIGHTxWIDTH")
        if self.resize == "crop" and self.resize_to is None and self.crop_pct is None:
            needed.append("--resize-to PIXELS (or --crop-pct SHARE)")
        if fixed and self.interpolation is None:
            needed.append("--interpolation bilinear|bicubic|nearest|...")
        if foreign.dtype != "uint8":
            if self.mean is None and self.std is None and self.scale is None:
                needed.append("--scale 0-1|0-255|-1-1 (or --mean R,G,B and --std R,G,B)")
            elif self.mean is None and self.std is not None:
                needed.append("--mean R,G,B")
            elif self.std is None and self.mean is not None:
                needed.append("--std R,G,B")
        return needed

    def fixed_size(self, foreign: ForeignInput) -> Size | None:
        """Return the (height, width) that pictures enter the graph with, None if they differ.

        Raises:
            ArtifactError: the size is not that of the graph, or the graph needs one.
        """
        declared = [a or b for a, b in zip(foreign.size, self.size or (None, None), strict=True)]
        if self.size is not None and tuple(declared) != self.size:
            raise ArtifactError(
                f"the graph takes {foreign.size[0] or '?'}x{foreign.size[1] or '?'} (height x "
                f"width), but its preprocessing is for {self.size[0]}x{self.size[1]}; give --size "
                "and --resize-to, or export the graph for that size."
            )
        height, width = declared
        if self.resize == "none":
            if foreign.size != (None, None):
                raise ArtifactError(
                    f"the graph takes {foreign.size[0] or '?'}x{foreign.size[1] or '?'} (height x "
                    "width) only, so pictures must be resized; give --resize squash, crop or pad."
                )
            return None
        if height is None or width is None:
            raise ArtifactError("the size of the pictures is unknown; give --size HEIGHTxWIDTH.")
        return height, width

    def normalisation(self, foreign: ForeignInput) -> Normalisation:
        """Return what the graph expects as pixel values.

        Raises:
            ArtifactError: mean or std do not fit the graph.
        """
        grey = foreign.channels == 1
        order = "grey" if grey else self.colour_order or "rgb"
        if foreign.dtype == "uint8":
            scale: Scale = "0..255"
            mean: tuple[float, ...] = (0.0,)
            std: tuple[float, ...] = (1.0,)
        else:
            mean, std, scale = self.mean or (0.0,), self.std or (1.0,), self.scale or "0..1"
        if min(std) <= 0:
            raise ArtifactError(
                f"std is {', '.join(map(str, std))}; expected one number or three numbers above 0."
            )
        if grey and max(len(mean), len(std)) > 1:
            raise ArtifactError(
                "the graph takes grey pictures of one channel, but mean or std have three numbers; "
                "give --mean and --std with one number."
            )
        per_channel = 1 if grey else 3
        return Normalisation.model_validate(
            {
                "colour_order": order,
                "scale": scale,
                "mean": mean * per_channel if len(mean) == 1 else mean,
                "std": std * per_channel if len(std) == 1 else std,
                "layout": foreign.layout,
                "dtype": foreign.dtype,
            }
        )

    def policy(self, foreign: ForeignInput, native: tuple[int, int] | None) -> InputPolicy:
        """Return the complete input policy of a graph.

        Args:
            foreign: the input of the graph.
            native: range of sides in pixels, for graphs of any size; None is `NATIVE`.

        Raises:
            ArtifactError: the settings contradict the graph or one another.
        """
        size = self.fixed_size(foreign)
        values = {
            "native_side": (native or NATIVE) if size is None else None,
            "fixed_size": size,
            "resize": self.resize,
            "resize_to": self._before_crop(size),
            "crop_offset": self.crop_offset,
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "pad_colour": self.pad_colour,
            "normalisation": self.normalisation(foreign),
            "batch": "any" if foreign.batch is None else "one",
        }
        try:
            return InputPolicy.model_validate(
                {name: value for name, value in values.items() if value is not None}
            )
        except ValidationError as error:
            raise ArtifactError(f"input: {error.errors()[0]['msg']}") from None

    def _before_crop(self, size: Size | None) -> int | Size | None:
        if size is None or self.resize_to is not None or self.crop_pct is None:
            return None if size is None else self.resize_to
        height, width = (math.floor(side / self.crop_pct) for side in size)
        return height if self.resize == "crop" and height == width else (height, width)


IMAGENET = Settings(
    resize="crop",
    crop_pct=0.875,
    interpolation="bicubic",
    scale="0..1",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
PRESETS: dict[str, tuple[str, Settings]] = {
    "imagenet": (
        "timm's default: shorter side to size / 0.875, centre crop, bicubic, mean and std of "
        "ImageNet",
        IMAGENET,
    ),
    "torchvision": (
        "as imagenet, but bilinear, as most weights of torchvision",
        replace(IMAGENET, interpolation="bilinear"),
    ),
    "inception": (
        "as imagenet, with mean and std 0.5",
        replace(IMAGENET, mean=(0.5,), std=(0.5,)),
    ),
    "clip": (
        "shorter side to size, centre crop, bicubic, mean and std of CLIP",
        replace(
            IMAGENET,
            crop_pct=1.0,
            mean=(0.48145466, 0.4578275, 0.40821073),
            std=(0.26862954, 0.26130258, 0.27577711),
        ),
    ),
    "none": (
        "the graph takes values of 0 to 255 and normalises them itself; resized to the size "
        "without keeping the aspect ratio, bilinear",
        Settings("squash", interpolation="bilinear", scale="0..255"),
    ),
}
"""What each preset means, in words and as settings."""
