"""Training pictures that are mixtures of two."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from training.data import load_splits
from training.inputs import normalise
from training.loop import fit
from training.losses import objective
from training.mixing import Mixtures, mix
from training.recipe import Recipe, RecipeError, load_recipe
from training.run import initial_network
from training.settings import Augment, Loss

COUNT = 400
GREY = torch.arange(COUNT, dtype=torch.float32)[:, None, None, None].expand(COUNT, 12, 20, 3)
"""Pictures of one shade of grey each, by which a pixel tells which picture it is of."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe(**changes: object) -> Recipe:
    own = {"augment.flip": "none", "augment.translate": 0, "augment.cutout": 0, **changes}
    return load_recipe("cifar10-gap", "smoke", changes={**own, "epochs": 1})


def test_mixup_blends_a_share_of_the_pictures_with_its_partner() -> None:
    mixed, partners, share = mix(GREY, Augment(mixup=0.4), generator())
    assert sorted(partners.tolist()) == list(range(COUNT))
    expected = share * torch.arange(COUNT) + (1 - share) * partners
    torch.testing.assert_close(mixed, expected[:, None, None, None].expand_as(mixed))
    blended = share < 1
    assert 0.33 < blended.float().mean() < 0.47
    assert mixed[~blended].equal(GREY[~blended])
    assert 0.5 <= share[blended].min() < 0.55
    assert 0.95 < share[blended].max() < 1


def test_cutmix_replaces_a_rectangle_and_says_how_much_is_left() -> None:
    mixed, partners, share = mix(GREY, Augment(cutmix=0.6), generator())
    others = partners != torch.arange(COUNT)
    mixed, partners, share, own = mixed[others], partners[others], share[others], GREY[others]
    foreign = mixed == partners[:, None, None, None]
    assert (foreign != (mixed == own)).all()
    replaced = foreign[..., 0]  # (N, H, W)
    assert replaced.equal(replaced.any(2)[:, :, None] & replaced.any(1)[:, None, :])
    assert replaced.any(0).all()  # it lies anywhere in a picture
    torch.testing.assert_close(share, 1 - replaced.float().mean((1, 2)))
    assert 0.5 < (share < 1).float().mean() < 0.67
    assert 0.4 < share.min() < 0.6


def test_both_are_shares_of_all_pictures() -> None:
    _, _, share = mix(GREY, Augment(mixup=0.5, cutmix=0.5), generator())
    assert (share < 1).float().mean() > 0.95
    same, _, share = mix(GREY, Augment(), generator())
    assert same.equal(GREY)
    assert share.equal(torch.ones(COUNT))


def test_labels_are_the_shares_of_both_classes() -> None:
    settings = recipe(**{"augment.mixup": 1.0})
    splits = load_splits(settings.data, settings.seed)
    source = Mixtures(splits.train, settings, torch.device("cpu"), len(splits.classes))
    indices = torch.arange(32)
    (inputs,), labels = source.training(indices, generator(), 0)
    images, partners, share = mix(splits.train.images[:32], settings.augment, generator())
    torch.testing.assert_close(inputs, normalise(images, settings))
    ones = torch.eye(len(splits.classes))[splits.train.labels[:32]]
    expected = share[:, None] * ones + (1 - share[:, None]) * ones[partners]
    torch.testing.assert_close(labels, expected)
    logits = torch.randn(32, len(splits.classes), generator=generator())
    first, second = (
        F.cross_entropy(logits, truth, label_smoothing=0.1, reduction="none")
        for truth in (splits.train.labels[:32], splits.train.labels[:32][partners])
    )
    loss = objective(logits, labels, Loss(label_smoothing=0.1))
    torch.testing.assert_close(loss, (share * first + (1 - share) * second).mean())


def test_a_run_learns_from_mixtures(tmp_path: Path) -> None:
    changes = {"augment.mixup": 0.5, "augment.cutmix": 0.5}
    plain, mixed = recipe(), recipe(**changes)
    splits = load_splits(plain.data, plain.seed)
    losses = {}
    for name, settings in (("plain", plain), ("mixed", mixed), ("again", mixed)):
        (tmp_path / name).mkdir()
        network, accelerator = initial_network(settings, splits), Accelerator(cpu=True)
        losses[name] = fit(network, splits, settings, tmp_path / name, accelerator)[1][0]
    assert losses["mixed"].train_loss > losses["plain"].train_loss
    assert losses["mixed"].train_loss == losses["again"].train_loss
    assert losses["mixed"].validation_accuracy > 1 / len(splits.classes)


def test_settings_that_cannot_be_mixed_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"augment\.mixup: .* cross-entropy"):
        recipe(**{"augment.mixup": 0.5, "loss.name": "nll"})
    with pytest.raises(RecipeError, match=r"augment\.cutmix: .* add up to 1"):
        recipe(**{"augment.mixup": 0.5, "augment.cutmix": 0.6})
    assert recipe().hash == recipe(**{"augment.mixup": 0, "augment.cutmix": 0}).hash
