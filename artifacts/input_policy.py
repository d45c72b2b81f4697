"""The input policy: how a picture of any size becomes an input of a graph.

The rules of rounding are those of the libraries whose models are served, so that a model gets the
same pixels here as where it was trained:

- the shorter side to N px: the longer side is `int(N * long / short)`, in torchvision's
  `_compute_resized_output_size` and in Hugging Face's `get_resize_output_image_size`;
- into or over a box with the aspect ratio kept: each side is `round(side / ratio)`, in timm's
  `ResizeKeepRatio`; Ultralytics' `LetterBox` rounds in the same way;
- the first row and column of a crop: `int(round((side - crop) / 2))` in torchvision's and timm's
  `center_crop`, `(side - crop) // 2` in Hugging Face's `center_crop` and in Keras' `CenterCrop`;
- the rows and columns that are padded in front: `(size - side) // 2`, in torchvision's
  `center_crop`, in timm's `center_crop_or_pad` and in Ultralytics' `LetterBox`.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from artifacts.strict import Strict

Side = Annotated[int, Field(gt=0)]
Byte = Annotated[int, Field(ge=0, le=255)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
NOT_ANTIALIASED = ("nearest", "bilinear")
"""Interpolations that exist without antialiasing."""
REDUCTIONS = (8, 4, 2)
"""Factors by which libjpeg reduces a picture while it decodes it, at little cost."""
REDUCTION_GAP = 3.0
"""How much larger than needed a reduced picture still is. From 3 on, Pillow's documentation calls
the result of `Image.resize(reducing_gap=…)` nearly indistinguishable from that of the whole."""


class Normalisation(Strict):
    """What the network in the graph gets, computed by the graph from its uint8 RGB input.

    The channels are put in order, scaled, shifted and divided: `(scaled - mean) / std`. Nothing
    outside the graph needs it; it is recorded so that others can prepare pictures for the network
    itself. `artifacts.preprocessing.network_input` computes the same in NumPy.
    """

    colour_order: Literal["rgb", "bgr", "grey"] = "rgb"
    """Order of the channels. Grey is one channel, the luma that Pillow computes (ITU-R BT.601)."""
    scale: Literal["0..1", "0..255", "-1..1"] = "0..1"
    """Range to which 0 to 255 is scaled before `mean` and `std`."""
    mean: tuple[float, ...]
    """What is subtracted from each channel, in the order of `colour_order`, after scaling."""
    std: tuple[float, ...]
    """Divisor of each channel, in the same order."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "float16", "float64", "uint8"] = "float32"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        channels = 1 if self.colour_order == "grey" else 3
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(
                f"{self.colour_order} needs {channels} of mean and std, one for each channel"
            )
        if min(self.std) <= 0:
            raise ValueError("every std must be above 0")
        unchanged = self.scale == "0..255" and not any(self.mean) and set(self.std) == {1.0}
        if self.dtype == "uint8" and not unchanged:
            raise ValueError("uint8 values are 0..255; they need scale 0..255, mean 0 and std 1")
        return self


class InputPolicy(Strict):
    """How a picture of any size becomes an input of the graph. All sizes are in pixels.

    The *side* of a picture is the side of the square with the same area, sqrt(width x height): the
    network sees a 40x10 picture at the scale of a 20x20 one.
    """

    accepted_side: tuple[int, int] = (8, 4096)
    """Minimum and maximum of width and height; pictures outside this range are refused."""
    drawing: Literal["mnist"] | None = Field(default=None, exclude_if=lambda v: v is None)
    """mnist: before everything else, the one drawing on a picture is found and normalised as the
    digits of MNIST are, bright on black in 28x28 px; see `artifacts.drawings`. A picture on which
    no single drawing is found goes on as it is. None: pictures are not searched."""
    native_side: tuple[int, int] | None = None
    """Range of sides that enter the graph unchanged. A picture outside it is rescaled to the nearer
    end of the range, with its aspect ratio kept. None: no picture is rescaled. It does not count
    if there is a `fixed_size`."""
    detail: Side | None = Field(default=None, exclude_if=lambda v: v is None)
    """Shorter side, in pixels, of the pictures that the network was trained on. A picture that is
    longer on its shorter side is shrunk to it first, and then rescaled to `native_side`: otherwise,
    a network trained on small pictures that are enlarged would meet details in a photograph that
    it has never seen. None: no picture is shrunk first. It needs a `native_side`."""
    max_aspect: float | None = Field(default=None, exclude_if=lambda v: v is None, ge=1)
    """Greatest ratio of the longer to the shorter side at which the network is good. The longer
    side of longer pictures is squashed to it. None: aspect ratios are kept. It needs a
    `native_side`."""
    fixed_size: tuple[Side, Side] | None = None
    """(height, width) that every picture enters the graph with, by the rule `resize`."""
    resize: Literal["none", "squash", "crop", "pad"] = "none"
    """How a picture gets the `fixed_size`:

    - squash: resized to it, without keeping the aspect ratio;
    - crop: resized to cover it, with the aspect ratio kept, and cropped to its centre;
    - pad: resized to fit into it, with the aspect ratio kept, and centred on `pad_colour`;
    - none: there is no fixed size; `native_side` counts.

    If it is not given, it is squash with a `fixed_size` and none without, which is what manifests
    of version 1 mean."""
    resize_to: Side | tuple[Side, Side] | None = None
    """What the picture is resized to before it is cropped or padded to the `fixed_size`. One number
    is the length of the shorter side, for crop. Two numbers are a (height, width) that takes the
    place of `fixed_size` in the rules above. None: it is `fixed_size` itself."""
    crop_offset: Literal["round", "floor"] = "round"
    """Rounding of the first row and column of the crop, (side - crop) / 2: to the nearest, and to
    the even of two, as torchvision and timm do, or down, as Hugging Face and Keras do."""
    interpolation: Interpolation = "bicubic"
    """Filter of the resizing, as Pillow defines it."""
    antialias: bool = True
    """Whether shrinking averages over all pixels that are merged into one, as Pillow always does
    except with nearest. False is what OpenCV (INTER_LINEAR) and TensorFlow do by default: each new
    pixel is interpolated between the four that are nearest to its centre."""
    pad_colour: tuple[Byte, Byte, Byte] = (0, 0, 0)
    """R, G and B of the border, for pad, and for crop if the picture is smaller than the crop."""
    normalisation: Normalisation | None = None
    """What the network inside the graph gets. None: not recorded."""
    batch: Literal["any", "one"] = "any"
    """Whether the graph takes any number of pictures at a time, or one only."""

    @model_validator(mode="before")
    @classmethod
    def _rule_of_version_1(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "resize" not in fields:
            return {**fields, "resize": "squash" if fields.get("fixed_size") else "none"}
        return fields

    @field_validator("native_side", "accepted_side")
    @classmethod
    def _low_first(cls, sides: tuple[int, int] | None) -> tuple[int, int] | None:
        if sides is not None and not 0 < sides[0] <= sides[1]:
            raise ValueError("expected two positive sides, the lower one first")
        return sides

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.resize == "none") != (self.fixed_size is None):
            raise ValueError(
                "squash, crop and pad need a fixed_size, and none allows no fixed_size"
            )
        if self.resize == "none" and self.resize_to is not None:
            raise ValueError("resize_to needs the rule squash, crop or pad")
        if isinstance(self.resize_to, int) and self.resize != "crop":
            raise ValueError(
                "one number, the length of the shorter side, is for the rule crop; give a "
                "(height, width) with the others"
            )
        scaled = self.native_side is not None and self.fixed_size is None
        if not scaled and (self.detail, self.max_aspect) != (None, None):
            raise ValueError("detail and max_aspect need a native_side and no fixed_size")
        if not self.antialias and self.interpolation not in NOT_ANTIALIASED:
            raise ValueError(
                f"only {' and '.join(NOT_ANTIALIASED)} exist without antialiasing; "
                f"{self.interpolation} needs antialias: true"
            )
        return self

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the size (width, height) at which a picture of the given size enters the graph."""
        if self.fixed_size is not None:
            return self.fixed_size[1], self.fixed_size[0]
        if self.native_side is None:
            return width, height
        width, height = self.shrunk(width, height)
        side = math.sqrt(width * height)
        scale = min(max(side, self.native_side[0]), self.native_side[1]) / side
        stretch = self._stretch(width, height)
        if scale == stretch == 1.0:
            return width, height
        minimum = self.accepted_side[0]
        across, down = width * scale * stretch, height * scale / stretch
        return max(minimum, round(across)), max(minimum, round(down))

    def shrunk(self, width: int, height: int) -> tuple[int, int]:
        """Return the size (width, height) of a picture before it is rescaled: see `detail`."""
        short = min(width, height)
        if self.detail is None or short <= self.detail:
            return width, height
        scale = self.detail / short
        return round(width * scale), round(height * scale)

    def reduction(self, width: int, height: int) -> int:
        """Return the factor (1, 2, 4 or 8) by which a picture may be reduced before it is prepared.

        It is above 1 only where the first thing that is done with the picture is to shrink it by at
        least twice `REDUCTION_GAP`, averaging over all pixels that are merged.
        """
        if self.drawing is not None or not self.antialias or self.interpolation == "nearest":
            return 1
        first = self.shrunk(width, height)
        if first == (width, height):
            first = self.resized(width, height)
        excess = min(width / first[0], height / first[1])
        return next((each for each in REDUCTIONS if excess >= REDUCTION_GAP * each), 1)

    def _stretch(self, width: int, height: int) -> float:
        """Return what keeps the area and brings the aspect ratio within `max_aspect`, for width."""
        if self.max_aspect is None:
            return 1.0
        aspect = width / height
        kept = min(max(aspect, 1 / self.max_aspect), self.max_aspect)
        return math.sqrt(kept / aspect)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the size (width, height) of a picture before it is cropped or padded."""
        if self.fixed_size is None:
            return self.target(width, height)
        if isinstance(self.resize_to, int):
            short, long = min(width, height), max(width, height)
            other = int(self.resize_to * long / short)
            return (self.resize_to, other) if width <= height else (other, self.resize_to)
        box_height, box_width = self.resize_to or self.fixed_size
        if self.resize == "squash":
            return box_width, box_height
        ratios = (width / box_width, height / box_height)
        ratio = min(ratios) if self.resize == "crop" else max(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def crop_start(self, side: int, crop: int) -> int:
        """Return the first row or column that is kept of `side`, which is at least `crop`."""
        return round((side - crop) / 2) if self.crop_offset == "round" else (side - crop) // 2
