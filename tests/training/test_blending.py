from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts import Artifact, InputPolicy
from artifacts.graph import load_graph
from tests.graphs import tiny_artifact
from training.blending import blend, open_parent
from training.export import Served, export
from training.half_precision import SUFFIX, halve
from training.networks import build
from training.recipe import RecipeError, load_recipe
from training.recipe_errors import SettingError
from training.settings import Network

MEAN = STD = (0.5, 0.5, 0.5)


def graph_of(classes: int = 5) -> bytes:
    network = build(Network("fast", {"widths": [16, 32, 64]}), classes)
    return export(Served(network, MEAN, STD), InputPolicy())


def weights(graph: bytes) -> dict[str, np.ndarray]:
    stored = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in stored}


def parent_of(folder: Path, graph: bytes, classes: int = 5) -> Artifact:
    names = tuple("abcdefghij"[:classes])
    return tiny_artifact(folder, classes=names, graph=onnx.load_from_string(graph))


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_every_weight_is_the_average(tmp_path: Path, share: float) -> None:
    before, after = graph_of(), graph_of()
    found = weights(blend(after, parent_of(tmp_path, before), share))
    start, end = weights(before), weights(after)
    assert found.keys() == end.keys()
    changed = [name for name in end if not np.array_equal(start[name], end[name])]
    assert "network.head.weight" in changed
    for name in changed:
        expected = share * start[name] + (1 - share) * end[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_the_parent_may_be_in_half_precision(tmp_path: Path) -> None:
    before, after = graph_of(), graph_of()
    parent = parent_of(tmp_path, halve(before))
    stored = load_graph(parent.path / "model.onnx").graph.initializer
    assert any(tensor.name.endswith(SUFFIX) for tensor in stored)
    found, expected = weights(blend(after, parent, 0.5)), weights(after)
    assert {name: found[name].dtype for name in found} == {
        name: expected[name].dtype for name in expected
    }
    for name, end in expected.items():
        np.testing.assert_allclose(found[name], (weights(before)[name] + end) / 2, atol=1e-3)


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no weight 'network\.head.*parent_share needs"):
        blend(graph_of(), parent_of(tmp_path, graph_of(7), 7), 0.5)


def test_a_share_needs_a_parent() -> None:
    recipe = load_recipe("digits", "cpu")
    with pytest.raises(SettingError, match="set that as well"):
        replace(recipe, parent_share=0.5)
    with pytest.raises(RecipeError, match="starts from no other model"):
        open_parent(recipe)
