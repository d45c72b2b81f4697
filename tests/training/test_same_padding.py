"""Graphs with SAME padding give the network's answers, also at sizes that pad unevenly."""

import onnx
import timm
import torch

from artifacts import InputPolicy
from training.export import Served, compare, export
from training.networks import Classifier


def test_same_padding_becomes_an_attribute() -> None:
    torch.manual_seed(0)
    trunk = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network = Classifier(trunk, torch.nn.Linear(1280, 4)).eval()
    served = Served(network, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    policy = InputPolicy(native_side=(20, 200))
    graph = export(served, policy)
    assert compare(served, graph, policy) < 1e-4, "the module works again and agrees with its graph"
    attributes = [
        attribute.s
        for node in onnx.load_from_string(graph).graph.node
        for attribute in node.attribute
        if attribute.name == "auto_pad"
    ]
    assert attributes.count(b"SAME_UPPER") == 5, "one for each convolution with stride 2"
