"""Networks that the import is compared with: exported here, and run by their own frameworks."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import timm.data
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.models import ResNet18_Weights, resnet18

from artifacts import probabilities

TIMM: Any = timm.data  # its functions have no types
CLASSES = 10
TOLERANCE = 1e-3
SPREAD = 2.0
"""Standard deviation of the logits over the pictures, to which the last layer is scaled."""
SCALED = 8
"""Every how many pixels of a photograph the smallest network, a linear classifier, sees one."""
Shares = npt.NDArray[np.float64]
"""Probabilities, N x C."""
Prepare = Callable[[Image.Image], torch.Tensor]
"""A framework's way from a decoded picture to the input of the network, C x H x W."""


@dataclass(frozen=True)
class Case:
    """A network that was exported, and what its framework answers."""

    title: str
    source: str
    """Where the import finds the preprocessing."""
    options: Sequence[str]
    """Of `vitrine import`."""
    shares: Shares
    tolerance: float = TOLERANCE


def opened(path: Path) -> Image.Image:
    """Decode a picture as the examples of the frameworks do."""
    with Image.open(path) as image:
        return image.convert("RGB")


def widen(network: nn.Module, head: nn.Linear, inputs: torch.Tensor) -> None:
    """Scale and shift the last layer so that logits of the inputs have mean 0 and `SPREAD`."""
    with torch.no_grad():
        logits = network(inputs)
        factor = SPREAD / logits.std(0)
        head.weight.mul_(factor[:, None])
        head.bias.sub_(logits.mean(0)).mul_(factor)


def export(network: nn.Module, example: torch.Tensor, file: Path, *, batch: bool = True) -> None:
    """Export a network to ONNX, with any number of pictures at a time if `batch`."""
    torch.onnx.export(
        network,
        (example,),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["pixel_values"],
        output_names=["output"],
        dynamic_axes={"pixel_values": {0: "batch"}, "output": {0: "batch"}} if batch else None,
    )


def answers(network: nn.Module, inputs: torch.Tensor) -> Shares:
    """Return the probabilities of a network that gives logits."""
    with torch.no_grad():
        logits = network(inputs)
    shares: Shares = torch.softmax(logits.double(), 1).numpy()
    return shares


def prepared(prepare: Prepare, paths: Sequence[Path]) -> torch.Tensor:
    """Return the pictures as a framework prepares them (N x C x H x W)."""
    return torch.stack([prepare(opened(path)) for path in paths])


def from_timm(name: str, mode: str) -> Callable[[Path, Sequence[Path]], Case]:
    """A model of timm with its config.json, prepared by `timm.data.create_transform`."""

    def make(file: Path, paths: Sequence[Path]) -> Case:
        network: Any = timm.create_model(name, num_classes=CLASSES).eval()
        config = TIMM.resolve_model_data_config(network) | {"crop_mode": mode}
        inputs = prepared(TIMM.create_transform(**config), paths)
        widen(network, network.get_classifier(), inputs)
        export(network, inputs[:2], file)
        written = {"architecture": name, "pretrained_cfg": network.pretrained_cfg | config}
        (file.parent / "config.json").write_text(json.dumps(written))
        return Case(f"timm {name}", f"config.json, {mode}", (), answers(network, inputs))

    return make


def from_torchvision(file: Path, paths: Sequence[Path]) -> Case:
    """ResNet-18, prepared by the transforms of its weights; the softmax is in the graph."""
    network = resnet18(num_classes=CLASSES).eval()
    inputs = prepared(ResNet18_Weights.IMAGENET1K_V1.transforms(), paths)
    widen(network, network.fc, inputs)
    export(nn.Sequential(network, nn.Softmax(1)).eval(), inputs[:2], file)
    options = ("--preset", "torchvision", "--size", "224", "--resize-to", "256")
    return Case("torchvision ResNet-18, softmax", "options", options, answers(network, inputs))


def from_hugging_face(file: Path, paths: Sequence[Path]) -> Case:
    """ResNet-18 for one picture at a time, prepared as by Hugging Face's processors with Pillow."""
    network = resnet18(num_classes=CLASSES).eval()
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 248},
        "crop_size": {"height": 224, "width": 224},
        "do_resize": True,
        "do_center_crop": True,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
    }
    mean, std = (np.array(config[key], np.float32) for key in ("image_mean", "image_std"))

    def prepare(image: Image.Image) -> torch.Tensor:
        short, long = sorted(image.size)
        other = int(248 * long / short)
        size = (248, other) if image.width <= image.height else (other, 248)
        resized = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        top, left = (resized.shape[0] - 224) // 2, (resized.shape[1] - 224) // 2
        crop = resized[top : top + 224, left : left + 224].astype(np.float32) * np.float32(1 / 255)
        return torch.from_numpy(((crop - mean) / std).transpose(2, 0, 1))

    inputs = prepared(prepare, paths)
    widen(network, network.fc, inputs)
    export(network, inputs[:1], file, batch=False)
    (file.parent / "preprocessor_config.json").write_text(json.dumps(config))
    return Case("fixed batch of 1", "preprocessor_config.json", (), answers(network, inputs))


class Keras(nn.Module):
    """A network that takes N x H x W x 3 of -1 to 1 and gives probabilities, as those of Keras."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet18(num_classes=CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return probabilities (N x C)."""
        logits = self.body(pictures.permute(0, 3, 1, 2))
        exponentials = torch.exp(logits - logits.amax(1, keepdim=True))
        return exponentials / exponentials.sum(1, keepdim=True)


def keras(network: Keras, inputs: torch.Tensor, file: Path) -> Shares:
    """Export a network of values of -1 to 1 for pictures of 0 to 255, and return its answers."""
    inputs = inputs / 127.5 - 1
    widen(network.body, network.body.fc, inputs)
    export(network, inputs[:2].permute(0, 2, 3, 1), file)
    return answers(network.body, inputs)


def from_keras(file: Path, paths: Sequence[Path]) -> Case:
    """An NHWC graph with the softmax written out, prepared as by `keras.utils.load_img`."""

    def prepare(image: Image.Image) -> torch.Tensor:
        pixels = np.asarray(image.resize((200, 160), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)

    shares = keras(Keras().eval(), prepared(prepare, paths), file)
    options = ("--resize", "squash", "--interpolation", "bilinear", "--scale", "-1-1")
    return Case("NHWC, softmax written out", "options, Keras' load_img", options, shares)


def from_tensorflow(file: Path, paths: Sequence[Path]) -> Case:
    """The same, prepared as by `tf.image.resize`, which keeps fractions that a picture cannot."""

    def prepare(image: Image.Image) -> torch.Tensor:
        floats = torch.from_numpy(np.asarray(image).astype(np.float32)).permute(2, 0, 1)
        return F.interpolate(floats[None], (160, 200), mode="bilinear", align_corners=False)[0]

    shares = keras(Keras().eval(), prepared(prepare, paths), file)
    options = ("--resize", "squash", "--interpolation", "bilinear", "--no-antialias", "--scale")
    source = "options, tf.image.resize (not rounded to integers)"
    return Case("NHWC, softmax written out", source, (*options, "-1-1"), shares, tolerance=1e-2)


def half(file: Path, paths: Sequence[Path]) -> Case:
    """MobileNetV3 in float16, run by ONNX Runtime, because PyTorch rounds other values."""
    network: Any = timm.create_model("mobilenetv3_small_100", num_classes=CLASSES).eval()
    config = TIMM.resolve_model_data_config(network)
    inputs = prepared(TIMM.create_transform(**config), paths)
    widen(network, network.get_classifier(), inputs)
    export(network.half(), inputs[:2].half(), file)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"pixel_values": inputs.half().numpy()})[0]
    options = ("--preset", "imagenet", "--size", "224")
    shares = probabilities(logits.astype(np.float32), 1.0)
    return Case("float16 MobileNetV3", "options", options, shares)


def from_sklearn(file: Path, paths: Sequence[Path]) -> Case:
    """StandardScaler and LogisticRegression on grey pixels, as skl2onnx writes them."""
    random = np.random.default_rng(0)
    rows = np.stack(
        [
            np.asarray(opened(path).resize((28, 28), Image.Resampling.BILINEAR).convert("L"))
            for path in paths
        ]
    ).reshape(len(paths), -1)
    mean, scale = rows.mean(0), 1 / (rows.std(0) + 1)
    coefficients = random.normal(0, 0.1, (CLASSES, rows.shape[1]))
    logits = ((rows - mean) * scale) @ coefficients.T
    number, width = TensorProto.FLOAT, rows.shape[1]
    nodes = [
        helper.make_node(
            "Scaler",
            ["X"],
            ["variable"],
            domain="ai.onnx.ml",
            offset=mean.tolist(),
            scale=scale.tolist(),
        ),
        helper.make_node(
            "LinearClassifier",
            ["variable"],
            ["label", "probability_tensor"],
            domain="ai.onnx.ml",
            classlabels_ints=list(range(CLASSES)),
            coefficients=coefficients.ravel().tolist(),
            intercepts=[0.0] * CLASSES,
            multi_class=1,
            post_transform="SOFTMAX",
        ),
        helper.make_node("Cast", ["label"], ["output_label"], to=TensorProto.INT64),
        helper.make_node(
            "Normalizer", ["probability_tensor"], ["probabilities"], domain="ai.onnx.ml", norm="L1"
        ),
        helper.make_node(
            "ZipMap",
            ["probabilities"],
            ["output_probability"],
            domain="ai.onnx.ml",
            classlabels_int64s=list(range(CLASSES)),
        ),
    ]
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(number, []))
    )
    graph = helper.make_graph(
        nodes,
        "sklearn",
        [helper.make_tensor_value_info("X", number, [None, width])],
        [
            helper.make_tensor_value_info("output_label", TensorProto.INT64, [None]),
            helper.make_value_info("output_probability", maps),
        ],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 1), helper.make_opsetid("", 15)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    options = ("--resize", "squash", "--size", "28x28", "--interpolation", "bilinear")
    shares = probabilities(logits.astype(np.float32), 1.0)
    return Case(
        "skl2onnx: Scaler, LinearClassifier, ZipMap",
        "options, rows of grey pixels",
        (*options, "--scale", "0-255"),
        shares,
    )


CASES: tuple[Callable[[Path, Sequence[Path]], Case], ...] = (
    from_timm("mobilenetv3_small_100", "center"),
    from_timm("vit_tiny_patch16_224", "squash"),
    from_timm("convnext_atto", "border"),
    from_torchvision,
    from_sklearn,
    from_keras,
    from_tensorflow,
    half,
    from_hugging_face,
)
