"""Where pictures are kept, and that a step of training asks the device for nothing."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from training import placement
from training.augment import rescale, rescale_in_float
from training.averaging import Average
from training.data import Split, load_splits
from training.inputs import Pictures, share_done, training_sizes
from training.loop import fit
from training.placement import OnDevice, ReadAhead, fits, place
from training.recipe import load_recipe
from training.run import initial_network

CUDA = torch.device("cuda")
CPU = torch.device("cpu")
READS = ("_local_scalar_dense", "nonzero", "unique", "_unique2", "masked_select", "equal")
"""Operators whose results the host needs, for which a GPU's queue must run empty."""


def table(rows: int = 100) -> torch.Tensor:
    return torch.arange(rows * 6).view(rows, 6)


@pytest.mark.parametrize(("free", "kind"), [(9600, OnDevice), (9599, ReadAhead)])
def test_a_gpu_keeps_what_takes_half_of_its_free_memory(
    free: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "free_memory", lambda _: free)
    data = table()
    assert data.nbytes == 4800
    assert fits(data.nbytes, CUDA) == (kind is OnDevice)
    # as the device itself is not there, only the choice is tried
    monkeypatch.setattr(OnDevice, "__init__", lambda *_: None)
    assert isinstance(place(data, CUDA), kind)


def test_on_a_cpu_everything_stays_where_it_is() -> None:
    data = table()
    rows = place(data, CPU)
    assert isinstance(rows, OnDevice)
    assert rows.table is data


@pytest.mark.parametrize("kind", [OnDevice, ReadAhead])
def test_rows_are_those_asked_for(kind: Callable[..., OnDevice | ReadAhead]) -> None:
    data = table()
    rows = kind(data, CPU)
    batches = list(torch.randperm(100).split(10))
    rows.announce(batches)
    for batch in batches[:5]:
        assert rows.take(batch).equal(data[batch])
    other = torch.tensor([3, 1])
    assert rows.take(other).equal(data[other]), "not announced"
    assert rows.take(batches[5]).equal(data[batches[5]]), "announced, after another"
    rows.announce(batches[7:])
    assert rows.take(batches[7]).equal(data[batches[7]]), "announced anew"


def test_batches_are_read_before_they_are_asked_for() -> None:
    rows = ReadAhead(table(), CPU)
    batches = list(torch.arange(100).split(10))
    rows.announce(batches)
    (first, coming), *others = rows._read
    assert first is batches[0]
    assert coming.result(timeout=30).equal(table()[:10])
    assert len(others) == placement.AHEAD - 1


def test_an_error_while_reading_ahead_is_raised() -> None:
    rows = ReadAhead(table(), CPU)
    rows.announce([wrong := torch.tensor([1000])])
    with pytest.raises(IndexError):
        rows.take(wrong)


def test_shapes_on_another_device_are_those_on_the_cpu() -> None:
    """The meta device computes no values, and refuses tensors of the CPU where a GPU does."""
    recipe = load_recipe("cifar10-scratch", "smoke", changes={"augment.jitter": 0.1})
    images, labels = torch.zeros(20, 32, 32, 3, dtype=torch.uint8), torch.zeros(20).long()
    split = Split(images, labels, images.numpy())
    indices = torch.arange(8)
    shapes = []
    for device in (CPU, torch.device("meta")):
        source = Pictures(split, recipe, device)
        generator = torch.Generator().manual_seed(0)
        for epoch in (0, 2):  # small pictures, then those of drawn sizes
            (inputs,), targets = source.training(indices, generator, epoch)
            assert (inputs.device, targets.device) == (device, device)
            shapes.append((inputs.shape, inputs.dtype, generator.get_state().sum()))
        assert source.plain(indices)[0].device == device
        assert source.mirrored(indices)[0].device == device
    assert shapes[:2] == shapes[2:]


@pytest.mark.parametrize("changes", [{"rotate": 10.0, "stroke": 0.5}, {"cutout": 4}])
def test_every_augmentation_runs_on_another_device(changes: dict[str, Any]) -> None:
    recipe = load_recipe(
        "cifar10-gap", "smoke", changes={f"augment.{k}": v for k, v in changes.items()}
    )
    images, labels = torch.zeros(20, 32, 32, 3, dtype=torch.uint8), torch.zeros(20).long()
    source = Pictures(Split(images, labels, images.numpy()), recipe, torch.device("meta"))
    (inputs,), _ = source.training(torch.arange(4), torch.Generator().manual_seed(0), 0)
    assert inputs.shape == (4, 3, 32, 32)


@pytest.mark.parametrize("size", [(24, 24), (20, 32), (48, 40)])
def test_floats_are_rescaled_as_integers_are(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    ours, theirs = rescale_in_float(images, *size), rescale(images, *size)
    assert ours.dtype == torch.uint8
    assert (ours.int() - theirs.int()).abs().max() <= 2


def test_the_largest_inputs_are_as_large_as_any_drawn() -> None:
    recipe = load_recipe("cifar10-scratch", "smoke")
    images, labels = torch.zeros(20, 32, 32, 3, dtype=torch.uint8), torch.zeros(20).long()
    source = Pictures(Split(images, labels, images.numpy()), recipe, CPU)
    seen = set()
    generator = torch.Generator().manual_seed(0)
    for epoch in [0] + 60 * [2]:
        (inputs,), _ = source.training(torch.arange(1), generator, epoch)
        seen.add((inputs.shape[3], inputs.shape[2]))
    assert seen == training_sizes(recipe, 32, 32)
    assert source.largest(3)[0].shape == (3, 3, 32, 32)


@pytest.mark.parametrize("name", ["blocks-plain", "cifar10-gap"])
def test_work_is_counted_in_pixels(name: str) -> None:
    recipe = load_recipe(name, "cpu")
    recipe = replace(recipe, augment=replace(recipe.augment, sizes=()))  # whose draws differ
    images, labels = torch.zeros(20, 32, 32, 3, dtype=torch.uint8), torch.zeros(20).long()
    source = Pictures(Split(images, labels, images.numpy()), recipe, CPU)
    generator = torch.Generator().manual_seed(0)
    epochs = range(recipe.epochs)
    pixels = [source.training(torch.arange(1), generator, e)[0][0].numel() for e in epochs]
    expected = [sum(pixels[:e]) / sum(pixels) for e in range(recipe.epochs + 1)]
    shares = [share_done(e, recipe, 32, 32) for e in range(recipe.epochs + 1)]
    assert shares == pytest.approx(expected)
    middle = share_done(0.5, recipe, 32, 32)
    assert middle == pytest.approx(expected[1] / 2)


class Reads(TorchDispatchMode):
    """Counts the operators whose results the host reads."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in READS
        return func(*args, **(kwargs or {}))


# Adam reads its counter of steps, which is on the CPU even if the weights are not
SGD = {"optimizer.name": "sgd", "optimizer.ema": 0.9}
CASES: dict[str, dict[str, Any]] = {
    "cifar10-gap": {**SGD, "augment.jitter": 0.2},
    "cifar10-fast": {"augment.sizes": []},
    "cars-lite0-frozen": {**SGD, "cache": "none"},
    "cifar10-lite0": {
        **SGD,
        "data.name": "synthetic/shapes",
        "data.validation": 20,
        "loss.name": "bce",
        "loss.label_smoothing": 0,
        "augment.sizes": [],
    },
    "faces-contrastive": {**SGD, "optimizer.lr": 1e-4, "data.size": [32, 32]},
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_reads_nothing_from_the_device(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many batches read as often: what is read, is read once per epoch."""
    monkeypatch.setattr("training.loop.SAY_SECONDS", 1e9)  # the progress reads the loss
    # pairs are measured on the CPU once per epoch, whatever their number
    monkeypatch.setattr("training.running.pair_accuracy", lambda *_: torch.tensor(0.5))
    # torchmetrics reads the range of probabilities on a CPU alone
    curve = import_module("torchmetrics.functional.classification.precision_recall_curve")
    monkeypatch.setattr(curve, "normalize_logits_if_needed", lambda scores, _: scores)
    counts = []
    for pictures in (60, 120):
        changes = {"epochs": 1, "batch_size": 20, **CASES[name]}
        recipe = load_recipe(name, "smoke", changes=changes)
        splits = load_splits(recipe.data, recipe.seed)
        some = type(splits)(
            splits.train.take(torch.arange(pictures)), splits.validation, splits.source
        )
        network = initial_network(recipe, some)
        folder = tmp_path_factory.mktemp(str(pictures))
        with Reads() as reads:
            fit(network, some, recipe, folder, Accelerator(cpu=True))
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_the_average_is_that_of_torch() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    theirs = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    ours = Average(network, 0.9)
    for _ in range(4):
        network(torch.randn(8, 4))
        with torch.no_grad():
            network[0].weight.add_(torch.randn(4, 4))
        for average in (ours, theirs):
            average.update_parameters(network)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours.state_dict()[k], v) for k, v in theirs.state_dict().items())
    again = Average(network, 0.9)
    again.load_state_dict(ours.state_dict())
    for average in (ours, again):
        average.update_parameters(network)
    assert all(torch.equal(ours.state_dict()[k], v) for k, v in again.state_dict().items())
