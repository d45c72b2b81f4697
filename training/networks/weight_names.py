"""Translates torchvision's names of weights to those of timm, which has the same networks.

Where a network computes something else in the two libraries, as EfficientNets of TensorFlow do,
whose padding torchvision does not have, there is no translation.
"""

import re
from functools import cache

import torchvision

_SAME = r"resnet\d+|wide_resnet\d+_2|resnext50_32x4d|densenet\d+|vgg\d+(?:_bn)?|efficientnet_b[0-7]"
_VIT = re.compile(r"vit_(base|large|huge)_patch(\d+)_224")
_SWIN = re.compile(r"swin_(tiny|small|base)_patch4_window7_224")

_VIT_NAMES = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    (r"^heads\.(?:head|0)\.", "head."),
)
_SWIN_NAMES = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    *((rf"^features\.{2 * n + 1}\.", f"layers.{n}.blocks.") for n in range(4)),
    *((rf"^features\.{2 * n}\.", f"layers.{n}.downsample.") for n in range(1, 4)),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)
_EFFICIENTNET_NAMES = (
    (r"^features\.0\.0\.", "conv_stem."),
    (r"^features\.0\.1\.", "bn1."),
    (r"^features\.8\.0\.", "conv_head."),
    (r"^features\.8\.1\.", "bn2."),
    # the first stage does not expand its channels, so its blocks have a convolution less
    (r"^features\.1\.(\d+)\.block\.0\.0\.", r"blocks.0.\1.conv_dw."),
    (r"^features\.1\.(\d+)\.block\.0\.1\.", r"blocks.0.\1.bn1."),
    (r"^features\.1\.(\d+)\.block\.1\.", r"blocks.0.\1.se."),
    (r"^features\.1\.(\d+)\.block\.2\.0\.", r"blocks.0.\1.conv_pw."),
    (r"^features\.1\.(\d+)\.block\.2\.1\.", r"blocks.0.\1.bn2."),
    *((rf"^features\.{n}\.(\d+)\.block\.", rf"blocks.{n - 1}.\1.block.") for n in range(2, 8)),
    (r"\.block\.0\.0\.", ".conv_pw."),
    (r"\.block\.0\.1\.", ".bn1."),
    (r"\.block\.1\.0\.", ".conv_dw."),
    (r"\.block\.1\.1\.", ".bn2."),
    (r"\.block\.2\.", ".se."),
    (r"\.block\.3\.0\.", ".conv_pwl."),
    (r"\.block\.3\.1\.", ".bn3."),
    (r"\.se\.fc1\.", ".se.conv_reduce."),
    (r"\.se\.fc2\.", ".se.conv_expand."),
    (r"^classifier\.1\.", "classifier."),
)
# torchvision renames these layers when it loads its own, older files
_DENSENET_NAMES = ((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),)
_NAMES = {
    "vit_": _VIT_NAMES,
    "swin_": _SWIN_NAMES,
    "efficientnet_": _EFFICIENTNET_NAMES,
    "densenet": _DENSENET_NAMES,
}
"""Patterns of torchvision's names and what they are in timm, by the start of a network's name."""


@cache
def torchvision_name(name: str) -> str | None:
    """Return torchvision's name of a network of timm that computes the same, or None.

    Args:
        name: The name in timm, with or without a tag, such as resnet50.tv_in1k.
    """
    base = name.split(".", maxsplit=1)[0]
    if found := _VIT.fullmatch(base):
        base = f"vit_{found[1][0]}_{found[2]}"
    elif found := _SWIN.fullmatch(base):
        base = f"swin_{found[1][0]}"
    elif not re.fullmatch(_SAME, base):
        return None
    return base if base in torchvision.models.list_models(torchvision.models) else None


def timm_key(name: str, key: str) -> str:
    """Return timm's name of a weight; names that are timm's already are returned unchanged.

    Args:
        name: timm's name of the network.
        key: The name of a weight in timm or torchvision.
    """
    if torchvision_name(name) is None:
        return key
    for start, patterns in _NAMES.items():
        if name.startswith(start):
            for pattern, replacement in patterns:
                key = re.sub(pattern, replacement, key)
    return key
