from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from artifacts import DataError, Runtime
from training.data import Split, load_splits
from training.export import Served, export
from training.loop import fit
from training.networks import Classifier, build
from training.recipe import Recipe, RecipeError
from training.settings import Augment, Data, Network, Optimizer

OPTIONS = {"model": "resnet18", "train": "last-stage"}
RECIPE = Recipe(
    name="frozen",
    title="a test",
    data=Data("synthetic/objects", validation=940),
    network=Network("backbone", OPTIONS),
    epochs=5,
    batch_size=30,  # two steps an epoch
    fixed_size=(48, 48),
    augment=Augment(flip="random"),
    optimizer=Optimizer(lr=1e-3),
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def losses(recipe: Recipe) -> tuple[list[float], Classifier]:
    splits = load_splits(recipe.data, recipe.seed)
    some = splits.validation  # the whole data set would take most of the time
    some = Split(some.images[:100], some.labels[:100], some.originals[:100])
    splits = replace(splits, validation=some)
    torch.manual_seed(0)
    network = build(recipe.network, 10)
    folder = Path("runs") / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=True)
    trained, history = fit(network, splits, recipe, folder, accelerator)
    (folder / "checkpoint.pt").unlink()
    return [x for row in history for x in (row.train_loss, row.validation_loss)], trained


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "tf_efficientnet_lite0"])
def test_ten_steps_give_the_same_losses(model: str) -> None:
    train = "features.denseblock4.denselayer15" if model == "densenet121" else "last-block"
    plain = replace(RECIPE, network=Network("backbone", {"model": model, "train": train}))
    expected, whole = losses(plain)
    found, trained = losses(replace(plain, cache="fp32"))
    assert found == pytest.approx(expected, abs=1e-5)
    assert expected[-2] < expected[0]
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[key], value, atol=1e-4, rtol=1e-4)


def test_averaged_weights_and_alternating_flips_too() -> None:
    plain = replace(
        RECIPE, augment=Augment(flip="alternating"), optimizer=Optimizer(lr=1e-3, ema=0.8)
    )
    expected, _ = losses(plain)
    assert losses(replace(plain, cache="fp32"))[0] == pytest.approx(expected, abs=1e-5)


def test_half_precision_costs_half_the_disk_and_little_accuracy() -> None:
    full, _ = losses(replace(RECIPE, cache="fp32"))
    size = sum(path.stat().st_size for path in Path("runs/cache").glob("*.bin"))
    half, _ = losses(replace(RECIPE, cache="fp16"))
    both = sum(path.stat().st_size for path in Path("runs/cache").glob("*.bin"))
    assert both == size * 1.5
    assert half == pytest.approx(full, abs=2e-2)


def test_the_exported_graph_is_the_whole_network() -> None:
    _, trained = losses(replace(RECIPE, cache="fp32"))
    graph = export(Served(trained, (0.5,) * 3, (0.5,) * 3), RECIPE.policy)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    pixels = (torch.from_numpy(images).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = trained(pixels.permute(0, 3, 1, 2)).numpy()
    found = Runtime(graph, RECIPE.policy).run_batch(images)["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tables_are_kept_and_keyed_by_what_decides_them() -> None:
    recipe = replace(RECIPE, cache="fp32", epochs=1)
    tables = Path("runs/cache")
    losses(recipe)
    first = {path.name: path.stat().st_ino for path in tables.glob("*.bin")}
    assert len(first) == 2
    losses(replace(recipe, optimizer=Optimizer(lr=1e-2), batch_size=20))
    assert {path.name: path.stat().st_ino for path in tables.glob("*.bin")} == first
    changes = [
        replace(recipe, data=replace(recipe.data, mean=(0.5, 0.5, 0.5))),
        replace(recipe, fixed_size=(32, 32)),
        replace(recipe, network=Network("backbone", {"model": "resnet18", "train": "layer4.1"})),
    ]
    for place, changed in enumerate(changes, start=2):
        losses(changed)
        assert len(list(tables.glob("*.bin"))) == 2 * place


def test_the_oldest_tables_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, cache="fp32", epochs=1)
    losses(recipe)
    size = sum(path.stat().st_size for path in Path("runs/cache").glob("*.bin"))
    monkeypatch.setenv("VITRINE_CACHE_GB", str(1.5 * size / 1e9))
    losses(replace(recipe, data=replace(recipe.data, mean=(0.5, 0.5, 0.5))))
    assert sum(path.stat().st_size for path in Path("runs/cache").glob("*.bin")) <= 1.5 * size


def test_too_small_a_limit_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_CACHE_GB", "0.000001")
    with pytest.raises(DataError, match="VITRINE_CACHE_GB allows") as error:
        losses(replace(RECIPE, cache="fp32"))
    assert "\n" not in str(error.value)
    assert not list(Path("runs/cache").glob("*.bin"))


def test_augmentation_beyond_flips_is_refused() -> None:
    with pytest.raises(RecipeError, match="allows flips"):
        losses(replace(RECIPE, cache="fp32", augment=Augment(flip="random", cutout=8)))
