"""Reads the preprocessing and the classes of a network from the files that frameworks write."""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from artifacts.errors import ArtifactError
from artifacts.imports.archive import MANIFEST, described
from artifacts.imports.settings import Resize, Settings, Size
from artifacts.input_policy import Interpolation

BESIDE = ("preprocessor_config.json", "config.json")
"""Files that are looked for in the folder of the model, the first that fits counts."""
RULES: dict[str, Resize] = {"center": "crop", "squash": "squash", "border": "pad"}
"""Rules by timm's crop modes."""
RESAMPLE: tuple[Interpolation, ...] = (
    "nearest",
    "lanczos",
    "bilinear",
    "bicubic",
    "box",
    "hamming",
)
"""Interpolations by Pillow's numbers."""
SHORTEST = {"CLIP", "ChineseCLIP", "ConvNext", "Bit", "MobileNetV1", "MobileNetV2", "MobileViT"}
"""Image processors of Hugging Face in which a single number as `size` is the shorter side."""
SQUARE = {"ViT", "DeiT", "Beit", "Swin", "Siglip", "Segformer", "EfficientNet"}
"""Those in which it is both sides."""


@dataclass(frozen=True)
class Found:
    """What a configuration says."""

    source: str
    """Where it was read, and whose configuration it is."""
    settings: Settings
    classes: tuple[str, ...] = ()


def find(model: onnx.ModelProto, file: Path, config: Path | None) -> Found | None:
    """Return what the configuration of a network says, None if there is none.

    A configuration that is given counts; otherwise one in the metadata of the model, and otherwise
    a file in the folder of the model.

    Args:
        model: the network.
        file: where it was read.
        config: a configuration of timm or of Hugging Face.

    Raises:
        ArtifactError: the configuration is damaged, or says what cannot be served.
    """
    if config is not None:
        found = _read(config)
        if found is None:
            raise ArtifactError(
                f"{config}: no configuration of timm (pretrained_cfg) or of Hugging Face "
                "(preprocessor_config.json); give the options of preprocessing instead."
            )
        return found
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if {"imgsz", "names", "task"} <= metadata.keys():
        return _ultralytics(metadata)
    for name in BESIDE:
        path = file.parent / name
        found = _read(path) if path.is_file() else None
        if found is not None:
            return found
    manifest = file.parent / MANIFEST
    if manifest.is_file():
        handler, settings, classes = described(manifest)
        return Found(f"the archive of TorchServe, handler {handler}", settings, classes)
    return None


def _read(path: Path) -> Found | None:
    content = _json(path)
    if "pretrained_cfg" in content or {"input_size", "crop_pct"} <= content.keys():
        return _timm(path, content)
    if {"image_processor_type", "feature_extractor_type", "do_resize", "image_mean"} & set(content):
        try:
            settings = _hugging_face(content)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _damaged(path, error) from None
        labels = path.parent / "config.json"
        return Found(
            f"{path} (Hugging Face)", settings, _id2label(labels) if labels.is_file() else ()
        )
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}).") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: not a JSON object; a configuration is expected.")
    return content


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path}: its preprocessing is not understood ({error}); give the options --resize, "
        "--size, --interpolation, --mean and --std instead."
    )


def _timm(path: Path, content: Mapping[str, Any]) -> Found:
    """Read what `timm.data.create_transform` does with a configuration."""
    config = {**content, **content.get("pretrained_cfg", {})}
    try:
        mode = config.get("crop_mode") or "center"
        mean, std = _numbers(config["mean"]), _numbers(config["std"])
        settings = Settings(
            resize=RULES[mode],
            size=_pair(config["input_size"][1:]),
            crop_pct=float(config.get("crop_pct") or 0.875),
            interpolation=config.get("interpolation") or "bicubic",
            pad_colour=_colour(mean) if mode == "border" else None,
            scale="0..1",
            mean=mean,
            std=std,
        )
        classes = _timm_classes(config)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _damaged(path, error) from None
    return Found(f"{path} (timm)", settings, classes)


def _timm_classes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the descriptions of the labels if all differ, otherwise their names."""
    names = config.get("label_names") or ()
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    described = config.get("label_descriptions") or {}
    words = tuple(str(described.get(name, name)) for name in names)
    return words if len(set(words)) == len(words) else tuple(map(str, names))


def _hugging_face(config: Mapping[str, Any]) -> Settings:
    """Read what an image processor of Hugging Face with Pillow does with a configuration."""
    kind = _processor(config)
    if config.get("do_pad"):
        raise ValueError("do_pad is set")
    if "crop_pct" in config and kind != "ConvNext":
        raise ValueError("crop_pct is set, for an image processor that is not ConvNext's")
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1
    # x * factor, normalised, is x / 255, normalised with mean and std divided by 255 * factor
    by = 255 * factor
    shift = 1.0 if config.get("rescale_offset") else 0.0
    normalise = config.get("do_normalize", kind != "MobileViT")
    mean = _numbers(config["image_mean"]) if normalise else (0.0,)
    std = _numbers(config["image_std"]) if normalise else (1.0,)
    flipped = config.get("do_flip_channel_order", kind == "MobileViT")
    interpolation = RESAMPLE[int(config["resample"])] if "resample" in config else None
    return Settings(
        **_hugging_face_size(config, kind),
        crop_offset="floor",
        interpolation=interpolation,
        colour_order="bgr" if flipped else "rgb",
        scale="0..1",
        mean=tuple((value + shift) / by for value in mean),
        std=tuple(value / by for value in std),
    )


def _processor(config: Mapping[str, Any]) -> str:
    """Return the name of an image processor without its endings, such as ConvNext."""
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    for ending in ("Pil", "Fast", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    if kind and kind not in SHORTEST | SQUARE:
        raise ValueError(f"the image processor {kind} is not one of those that are read")
    return kind


def _hugging_face_size(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the rule, the size, and the size before the crop."""
    size = config["size"] if config.get("do_resize", True) else None
    if isinstance(size, int) and kind in SHORTEST:
        size = {"shortest_edge": size}
    elif isinstance(size, int):
        if kind not in SQUARE:
            raise ValueError(f"size {size} can be the shorter side or both sides")
        size = {"height": size, "width": size}
    cropped = config.get("do_center_crop", "crop_size" in config and kind not in {"Beit", "ViT"})
    crop = config.get("crop_size") if cropped else None
    if crop is not None:
        crop = (crop, crop) if isinstance(crop, int) else (crop["height"], crop["width"])
    if size is None:
        raise ValueError("do_resize is not set")
    if kind == "ConvNext":
        return _convnext(size["shortest_edge"], float(config.get("crop_pct") or 224 / 256))
    if "shortest_edge" in size and "longest_edge" not in size and crop is not None:
        return {"resize": "crop", "size": crop, "resize_to": int(size["shortest_edge"])}
    if "height" in size:
        box = (int(size["height"]), int(size["width"]))
        return {"resize": "squash", "size": crop or box, "resize_to": box if crop else None}
    raise ValueError(f"size {size} without a crop gives pictures of different sizes")


def _convnext(edge: int, share: float) -> dict[str, Any]:
    if edge >= 384:  # noqa: PLR2004  the limit in the processor
        return {"resize": "squash", "size": (edge, edge)}
    return {"resize": "crop", "size": (edge, edge), "resize_to": int(edge / share)}


def _id2label(path: Path) -> tuple[str, ...]:
    labels = _json(path).get("id2label") or {}
    try:
        return tuple(str(labels[key]) for key in sorted(labels, key=int))
    except (TypeError, ValueError):
        raise ArtifactError(f"{path}: id2label is not a list of names by number.") from None


def _ultralytics(metadata: Mapping[str, str]) -> Found:
    """Read the metadata that `YOLO.export` writes into a model."""
    if metadata["task"] != "classify":
        raise ArtifactError(
            f"the model is a YOLO for the task {metadata['task']!r}; only classification, "
            "'classify', can be served."
        )
    try:
        size = _pair(ast.literal_eval(metadata["imgsz"]))
        names = ast.literal_eval(metadata["names"])
        classes = tuple(str(names[key]) for key in sorted(names))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ArtifactError(
            f"the metadata of Ultralytics in the model are damaged ({error}); export it again."
        ) from None
    square = size[0] == size[1]
    settings = Settings(
        resize="crop" if square else "squash",  # as in Ultralytics' classify_transforms
        size=size,
        resize_to=size[0] if square else None,
        interpolation="bilinear",
        scale="0..1",
        mean=(0.0,),
        std=(1.0,),
    )
    return Found("the metadata of the model (Ultralytics)", settings, classes)


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in (values if isinstance(values, list) else [values]))
    if len(numbers) not in {1, 3}:
        raise ValueError(f"{values} has {len(numbers)} numbers in place of 3")
    return numbers


def _pair(values: Any) -> Size:
    height, width = (int(value) for value in values)
    return height, width


def _colour(mean: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in (mean if len(mean) == 3 else mean * 3))  # noqa: PLR2004
    return red, green, blue
