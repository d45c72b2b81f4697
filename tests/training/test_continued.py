from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from artifacts import Artifact, InputPolicy, Manifest
from tests.graphs import tiny_artifact
from training.continued import copy_network
from training.export import Served, export
from training.half_precision import halve
from training.networks import Classifier, build
from training.recipe import RecipeError, load_recipe
from training.recipe_errors import SettingError
from training.settings import Network

OPTIONS = {"model": "tf_efficientnet_lite0", "weights": "none", "dropout": 0.2}
MEAN = STD = (0.5, 0.5, 0.5)


def network(seed: int, classes: int = 5) -> Classifier:
    torch.manual_seed(seed)
    return build(Network("backbone", OPTIONS), classes)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture(scope="module")
def trained() -> Classifier:
    model = network(0).train()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 0.5
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.uniform_(-0.2, 0.2)
        for _ in range(8):
            model(pictures(8))  # statistics that are not 0 and 1
    return model.eval()


@pytest.fixture(scope="module")
def artifact(trained: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    graph = halve(export(Served(trained, MEAN, STD), InputPolicy()))
    manifest = Manifest.build(
        name="parent",
        task="classification",
        classes=tuple("abcde"),
        code_version="0",
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Artifact.save(manifest, {"model.onnx": graph}, tmp_path_factory.mktemp("models"))


def test_the_copy_answers_as_the_graph(trained: Classifier, artifact: Artifact) -> None:
    copy = network(1)
    copy_network(copy, artifact, pictures(16))
    with torch.inference_mode():
        expected, found = trained(pictures(4)), copy.eval()(pictures(4))
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * expected.abs().max())


def test_its_normalisation_is_that_of_its_pictures(artifact: Artifact) -> None:
    """In training mode, the same pictures give the same answers, because they are one batch."""
    copy = network(1)
    copy_network(copy, artifact, pictures(16))
    for module in copy.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.inference_mode():
        answers = copy.eval()(pictures(16))
        trained = copy.train()(pictures(16))
    np.testing.assert_allclose(trained, answers, rtol=0.02, atol=0.02 * answers.abs().max())


def test_a_normalisation_behind_a_pooling_is_copied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = Network("fast", {"widths": [8, 16, 16]})
    model = build(settings, 5).train()
    with torch.no_grad():
        for _ in range(4):
            model(pictures(8))
    graph = export(Served(model.eval(), MEAN, STD), InputPolicy())
    artifact = tiny_artifact(tmp_path, classes=tuple("abcde"), graph=onnx.load_from_string(graph))
    copy = build(settings, 5)
    copy_network(copy, artifact, pictures(16))
    with torch.inference_mode():
        expected, found = model(pictures(4)), copy.eval()(pictures(4))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_another_network_is_refused(artifact: Artifact) -> None:
    with pytest.raises(RecipeError, match=r"parent has no weight 'head.*continue_from needs"):
        copy_network(network(1, classes=7), artifact, pictures(2))


def test_a_recipe_starts_from_one_other() -> None:
    recipe = load_recipe("cars-lite0-finetuned", "cpu")
    assert recipe.parent == recipe.continue_from == "cars-lite0-framed"
    with pytest.raises(SettingError, match="a recipe starts from one other"):
        replace(recipe, head_from="cars-lite0-frozen")


def test_continuing_is_part_of_the_hash() -> None:
    recipe = load_recipe("cars-lite0-finetuned", "cpu")
    assert replace(recipe, continue_from=None).hash != recipe.hash
