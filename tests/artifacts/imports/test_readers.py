"""The configurations of frameworks, as input policies and classes."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from artifacts import Artifact, InputPolicy
from artifacts.errors import ArtifactError
from artifacts.imports.inputs import ForeignInput
from artifacts.imports.readers import find
from tests.artifacts.conftest import Cli, assert_refused
from tests.artifacts.imports.conftest import Import, Refuse
from tests.artifacts.imports.networks import network

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TIMM = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    **IMAGENET,
}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def foreign(side: int = 224) -> ForeignInput:
    return ForeignInput("x", onnx.TensorProto.FLOAT, "nchw", 4, 3, None, (side, side))


def policy_of(folder: Path, name: str, content: dict[str, Any], side: int = 224) -> InputPolicy:
    (folder / name).write_text(json.dumps(content))
    found = find(network(), folder / "net.onnx", None)
    assert found is not None
    assert not found.settings.missing(foreign(side))
    return found.settings.policy(foreign(side), None)


def shape(policy: InputPolicy) -> tuple[Any, ...]:
    return policy.resize, policy.fixed_size, policy.resize_to


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("crop", (224, 224), 248)),  # floor of 224 / 0.9
        ({"crop_pct": 0.875}, ("crop", (224, 224), 256)),
        ({"crop_pct": 1.0}, ("crop", (224, 224), 224)),
        ({"crop_mode": "squash"}, ("squash", (224, 224), (248, 248))),
        ({"crop_mode": "border"}, ("pad", (224, 224), (248, 248))),
    ],
)
def test_timm(tmp_path: Path, change: dict[str, Any], expected: tuple[Any, ...]) -> None:
    policy = policy_of(tmp_path, "config.json", {"pretrained_cfg": TIMM | change})
    assert shape(policy) == expected
    assert (policy.interpolation, policy.antialias, policy.crop_offset) == (
        "bicubic",
        True,
        "round",
    )
    assert policy.normalisation is not None
    assert policy.normalisation.scale == "0..1"
    assert policy.normalisation.mean == tuple(IMAGENET["mean"])
    if policy.resize == "pad":
        assert policy.pad_colour == (124, 116, 104)


def test_timm_with_sides_that_differ(tmp_path: Path) -> None:
    config = {"pretrained_cfg": TIMM | {"input_size": [3, 224, 256]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = find(network(), tmp_path / "net.onnx", None)
    assert found is not None
    graph = ForeignInput("x", onnx.TensorProto.FLOAT, "nchw", 4, 3, None, (None, None))
    assert shape(found.settings.policy(graph, None)) == ("crop", (224, 256), (248, 284))


@pytest.mark.parametrize(
    ("names", "descriptions", "expected"),
    [
        (["n01", "n02"], {"n01": "tench", "n02": "crane"}, ("tench", "crane")),
        (["n01", "n02"], {"n01": "crane", "n02": "crane"}, ("n01", "n02")),
        ({"1": "b", "0": "a"}, None, ("a", "b")),
        (None, None, ()),
    ],
)
def test_classes_of_timm(
    tmp_path: Path, names: Any, descriptions: Any, expected: tuple[str, ...]
) -> None:
    labels = {"label_names": names, "label_descriptions": descriptions}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": TIMM, **labels}))
    found = find(network(), tmp_path / "net.onnx", None)
    assert found is not None
    assert found.classes == expected


@pytest.mark.parametrize(
    ("config", "side", "expected", "interpolation"),
    [
        (
            {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}},
            224,
            ("squash", (224, 224), None),
            "bilinear",
        ),
        (
            {"feature_extractor_type": "ViTFeatureExtractor", "size": 224},
            224,
            ("squash", (224, 224), None),
            "bilinear",
        ),
        (
            {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": 236},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
                "resample": 3,
            },
            224,
            ("crop", (224, 224), 236),
            "bicubic",
        ),
        (
            {
                "feature_extractor_type": "CLIPFeatureExtractor",
                "size": 224,
                "crop_size": 224,
                "resample": 3,
            },
            224,
            ("crop", (224, 224), 224),
            "bicubic",
        ),
        (
            {
                "feature_extractor_type": "DeiTFeatureExtractor",
                "size": 256,
                "crop_size": 224,
                "do_center_crop": True,
                "resample": 3,
            },
            224,
            ("squash", (224, 224), (256, 256)),
            "bicubic",
        ),
        (
            {
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 224},
                "crop_pct": 0.95,
                "resample": 3,
            },
            224,
            ("crop", (224, 224), 235),
            "bicubic",
        ),
        (
            {
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 384},
                "crop_pct": 0.95,
                "resample": 3,
            },
            384,
            ("squash", (384, 384), None),
            "bicubic",
        ),
    ],
    ids=["ViT", "old ViT", "CLIP", "old CLIP", "old DeiT", "ConvNext", "ConvNext 384"],
)
def test_hugging_face(
    tmp_path: Path,
    config: dict[str, Any],
    side: int,
    expected: tuple[Any, ...],
    interpolation: str,
) -> None:
    common = {"do_resize": True, "do_normalize": True, "resample": 2, **HALF}
    policy = policy_of(tmp_path, "preprocessor_config.json", common | config, side)
    assert shape(policy) == expected
    assert policy.interpolation == interpolation
    assert policy.crop_offset == "floor"


@pytest.mark.parametrize(
    ("change", "mean", "std"),
    [
        ({}, 0.5, 0.5),
        ({"do_rescale": True, "rescale_factor": 1 / 255}, 0.5, 0.5),
        # values of 0 to 255 are 255 times as large, and so are mean and std
        ({"do_rescale": False}, 0.5 / 255, 0.5 / 255),
        ({"do_normalize": False}, 0.0, 1.0),
        # from -1 to 1, as by mean and std of 0.5
        (
            {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
            0.5,
            0.5,
        ),
    ],
)
def test_scales_of_hugging_face(
    tmp_path: Path, change: dict[str, Any], mean: float, std: float
) -> None:
    config = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 2,
        **HALF,
    }
    policy = policy_of(tmp_path, "preprocessor_config.json", config | change)
    assert policy.normalisation is not None
    assert policy.normalisation.mean == pytest.approx((mean,) * 3)
    assert policy.normalisation.std == pytest.approx((std,) * 3)


def test_channels_that_hugging_face_flips(tmp_path: Path) -> None:
    config = {
        "image_processor_type": "MobileViTImageProcessor",
        "size": {"shortest_edge": 288},
        "crop_size": {"height": 256, "width": 256},
        "resample": 2,
    }
    policy = policy_of(tmp_path, "preprocessor_config.json", config, 256)
    assert policy.normalisation is not None
    assert policy.normalisation.colour_order == "bgr"
    assert policy.normalisation.std == (1, 1, 1)
    assert shape(policy) == ("crop", (256, 256), 288)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_processor_type": "LevitImageProcessor"}, "Levit is not one of those"),
        ({"size": {"shortest_edge": 224}}, "gives pictures of different sizes"),
        ({"size": {"longest_edge": 224}}, "gives pictures of different sizes"),
        ({"do_pad": True}, "do_pad is set"),
        ({"do_resize": False}, "do_resize is not set"),
        ({"image_mean": [0.5, 0.5]}, "2 numbers in place of 3"),
        ({"size": "large"}, "string indices|not understood"),
        ({"image_processor_type": None, "size": 224}, "shorter side or both sides"),
    ],
)
def test_what_is_not_understood_of_hugging_face_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    config = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 224, "width": 224},
        "resample": 2,
        **HALF,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config | change))
    with pytest.raises(ArtifactError, match=reason):
        find(network(), tmp_path / "net.onnx", None)


def with_metadata(**metadata: str) -> onnx.ModelProto:
    model = network(size=(32, 32))
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model


def test_ultralytics(imported: Import) -> None:
    names = "{1: 'beech', 0: 'ash', 2: \"dog's tooth\", 3: 'yew'}"
    model = with_metadata(imgsz="[32, 32]", names=names, task="classify", stride="1")
    done, artifact, _ = imported(model, classes=None)
    assert artifact.manifest.classes == ("ash", "beech", "dog's tooth", "yew")
    policy = artifact.manifest.input
    assert shape(policy) == ("crop", (32, 32), 32)
    assert policy.interpolation == "bilinear"
    assert policy.normalisation is not None
    assert (policy.normalisation.mean, policy.normalisation.std) == ((0, 0, 0), (1, 1, 1))
    assert "Preprocessing: crop to 32x32 from 32, bilinear (the metadata of the model" in done.out


def test_ultralytics_with_sides_that_differ(imported: Import) -> None:
    model = with_metadata(
        imgsz="[32, 48]", names="{0: 'a', 1: 'b', 2: 'c', 3: 'd'}", task="classify"
    )
    del model.graph.input[:]
    model.graph.input.extend(network().graph.input)
    policy = imported(model)[1].manifest.input
    assert shape(policy) == ("squash", (32, 48), None)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"task": "detect"}, "a YOLO for the task 'detect'"),
        (
            {"names": "__import__('os').getcwd()"},
            "metadata of Ultralytics in the model are damaged",
        ),
        ({"names": "{0: 'a'"}, "metadata of Ultralytics in the model are damaged"),
        ({"imgsz": "32"}, "metadata of Ultralytics in the model are damaged"),
    ],
)
def test_what_ultralytics_cannot_mean_is_refused(
    attempt: Refuse, metadata: dict[str, str], message: str
) -> None:
    good = {"imgsz": "[32, 32]", "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}", "task": "classify"}
    assert_refused(attempt(with_metadata(**good | metadata)), message)


def hugging_face(folder: Path) -> None:
    config = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "resample": 2,
        **HALF,
    }
    labels = {"id2label": {"0": "ash", "10": "yew", "2": "fir", "1": "box"}}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps(labels))


def test_classes_and_preprocessing_beside_the_model(tmp_path: Path, imported: Import) -> None:
    hugging_face(tmp_path)
    _, artifact, _ = imported(network(), classes=None)
    assert artifact.manifest.classes == ("ash", "box", "fir", "yew")
    assert shape(artifact.manifest.input) == ("squash", (32, 32), None)


def test_options_override_what_was_read(tmp_path: Path, imported: Import) -> None:
    hugging_face(tmp_path)
    options = ("--resize", "crop", "--resize-to", "40", "--interpolation", "lanczos")
    _, artifact, _ = imported(network(), *options, "--mean", "0.1,0.2,0.3")
    policy = artifact.manifest.input
    assert artifact.manifest.classes == ("ash", "beech", "cedar", "dogwood")
    assert shape(policy) == ("crop", (32, 32), 40)
    assert policy.interpolation == "lanczos"
    assert policy.normalisation is not None
    assert (policy.normalisation.mean, policy.normalisation.std) == (
        (0.1, 0.2, 0.3),
        (0.5, 0.5, 0.5),
    )


def test_a_configuration_elsewhere(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    onnx.save(network(), tmp_path / "model" / "net.onnx")
    (tmp_path / "mine.json").write_text(json.dumps({"pretrained_cfg": TIMM}))
    command = ["import", tmp_path / "model" / "net.onnx", "--task", "classification"]
    command += ["--classes", "a,b,c,d", "--config", tmp_path / "mine.json"]
    assert cli(*command).status == 0
    assert shape(Artifact.open("net").manifest.input) == ("crop", (224, 224), 248)
    (tmp_path / "mine.json").write_text('{"model_type": "vit"}')
    assert_refused(cli(*command, "--force"), "no configuration of timm (pretrained_cfg) or of")
    (tmp_path / "mine.json").write_text("[]")
    assert_refused(cli(*command, "--force"), "not a JSON object")


def test_a_damaged_configuration_beside_the_model_is_not_needed(
    tmp_path: Path, attempt: Refuse
) -> None:
    (tmp_path / "config.json").write_text("{")
    assert_refused(attempt(network()), "config.json: not readable as JSON")
    assert attempt(network(), "--scale", "0-1", "--resize", "none").status == 0
