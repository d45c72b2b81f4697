from pathlib import Path

import pytest

from artifacts import Artifact, artifact_names
from artifacts.card import CARD_FILE, SYNTHETIC, TERMS, write_card
from artifacts.datasets.registry import HELP
from artifacts.manifest import Measured, Quantization
from tests.graphs import THRESHOLDS, dataset_record, face_artifact, tiny_artifact

FIGURES = [
    {"name": name, "value": value, "split": "test", "samples": 900}
    for name, value in (("accuracy", 0.75), ("loss", 0.9), ("ece", 0.0456))
]


def read(artifact: Artifact) -> str:
    return (artifact.path / CARD_FILE).read_text()


@pytest.mark.parametrize("name", artifact_names())
def test_a_published_card_says_what_its_manifest_does(name: str) -> None:
    artifact = Artifact.open(name)
    assert artifact.manifest.title
    assert read(artifact) == write_card(artifact.manifest)


def test_a_card_has_use_terms_figures_and_limits(tmp_path: Path) -> None:
    dataset = dataset_record("cifar10", synthetic=False)
    fields = {"route": "cifar10", "dataset": dataset, "metrics": FIGURES, "temperature": 1.25}
    card = read(tiny_artifact(tmp_path, title="A tiny net", **fields))
    heads = [line for line in card.splitlines() if line.startswith("#")]
    parts = ["Use", "Origin", "Data and its terms", "Figures", "Limits"]
    assert heads == ["# tiny", *(f"## {part}" for part in parts)]
    for said in ("A tiny net.", TERMS["cifar10"], "red, green, blue", "temperature 1.250"):
        assert said in card
    assert "| test | 900 | own | 0.7500 | 0.9000 | 0.0456 |  |" in card
    assert SYNTHETIC not in card


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"fixed_size": (24, 32)}, "a side, squashed to 32x24 px."),
        (
            {"fixed_size": (24, 32), "interpolation": "bilinear", "antialias": False},
            "squashed to 32x24 px (interpolation: bilinear without antialiasing).",
        ),
        (
            {"fixed_size": (24, 24), "resize": "crop", "resize_to": 28, "interpolation": "box"},
            "rescaled to 28 px on the shorter side, cropped to the middle 24x24 px "
            "(interpolation: box).",
        ),
        (
            {"fixed_size": (24, 32), "resize": "crop", "resize_to": (30, 40)},
            "with their aspect ratio to cover 40x30 px, cropped to the middle 32x24 px.",
        ),
        (
            {"fixed_size": (24, 32), "resize": "squash", "resize_to": (30, 40)},
            "squashed to 40x30 px, cropped to the middle 32x24 px.",
        ),
        (
            {"fixed_size": (24, 32), "resize": "pad", "pad_colour": (114, 114, 114)},
            "to fit into 32x24 px, centred on 32x24 px of the colour (114, 114, 114).",
        ),
    ],
)
def test_a_card_says_how_pictures_are_prepared(
    tmp_path: Path, policy: dict[str, object], words: str
) -> None:
    assert words in read(tiny_artifact(tmp_path, input=policy))


def test_generated_pictures_are_said_first(tmp_path: Path) -> None:
    dataset = dataset_record("synthetic/objects", synthetic=True)
    card = read(tiny_artifact(tmp_path, dataset=dataset))
    assert card.splitlines()[2] == SYNTHETIC
    assert "None were measured here." in card


def test_a_held_out_test_split_is_said_to_be_one(tmp_path: Path) -> None:
    dataset = dataset_record("image_folder/birds", synthetic=False)
    own = read(tiny_artifact(tmp_path, dataset=dataset, metrics=FIGURES))
    assert "no test split of its own" not in own
    held_out = {**dataset, "divided": True}
    card = read(tiny_artifact(tmp_path, dataset=held_out, metrics=FIGURES))
    assert "image_folder/birds has no test split of its own" in card
    assert "of 900 of its pictures, chosen by a hash of their content and held out" in card


def test_integers_are_set_beside_what_they_were_made_of(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path, metrics=FIGURES)
    measured = {"pictures_per_second": {1: 10.0}}
    record = Quantization(
        served=False,
        calibration="cifar10:train",
        calibration_samples=300,
        test="cifar10:test",
        test_samples=900,
        hardware="here",
        fp32=Measured(accuracy=0.75, **measured),
        int8=Measured(accuracy=0.7, **measured),
    )
    manifest = artifact.manifest.model_copy(update={"quantization": record})
    card = read(Artifact.save(manifest, artifact.contents(), tmp_path))
    assert "integers do not answer: accuracy 0.7000 beside 0.7500 in float32" in card


def test_a_card_of_faces_has_the_rates_of_every_collection(tmp_path: Path) -> None:
    names = [
        "eer",
        "found",
        *(f"{k}@0.01{e}" for k in ("fmr", "fnmr") for e in ("", "/low", "/high")),
    ]
    splits = ("faces/celeba:train", "faces/orl:all")
    metrics = [
        {"name": name, "value": 0.25, "split": split, "samples": 50}
        for split in splits
        for name in names
    ]
    pairs = {"dataset": splits[0], "people": 5, "same": 10, "different": 40}
    verification = {"metric": "cosine", "thresholds": THRESHOLDS[:1], "pairs": pairs}
    card = read(face_artifact(tmp_path, verification=verification, metrics=metrics))
    for split in splits:
        assert f"| 0.01 | 0.2000 | {split} | 0.25 (0.25 to 0.25) | 0.25 (0.25 to 0.25) |" in card
        assert f"| {split} | 50 | 0.2500 | 50 | 0.2500 |" in card
        assert f"- {split.split(':')[0]}: {TERMS[split.split(':')[0]]}." in card


def test_terms_are_of_data_that_can_be_read() -> None:
    assert all(name.split("/")[0] in HELP for name in TERMS)


def test_the_card_of_a_multi_label_model_has_a_table_of_its_classes(tmp_path: Path) -> None:
    values = {"map": 0.8, "f1-macro": 0.7, "f1-micro": 0.75, "loss": 0.3, "ece": 0.02}
    metrics = [{"name": n, "value": v, "split": "test", "samples": 900} for n, v in values.items()]
    for name, value, samples in (
        ("recall/red", 0.9, 40),
        ("precision/red", 0.6, 60),
        ("recall/green", 0.0, 3),
    ):
        metrics.append({"name": name, "value": value, "split": "test", "samples": samples})
    artifact = tiny_artifact(
        tmp_path, task="multi-label", thresholds=(0.3, 0.5, 0.25), metrics=metrics
    )
    card = read(artifact)
    assert "3 classes, of which a picture may show several or none: red, green, blue." in card
    assert "| test | 900 | own | 0.8000 | 0.7000 | 0.7500 | 0.3000 | 0.0200 |" in card
    assert "| red | 0.3000 | 40 | 0.9000 | 60 | 0.6000 |" in card
    assert "| green | 0.5000 | 3 | 0.0000 | 0 |  |" in card
    assert "| blue | 0.2500 | 0 |  | 0 |  |" in card
    assert "do not sum to one" in card
    precise = {"pictures_per_second": {1: 9.0}, "mean_average_precision": 0.8}
    record = Quantization(
        served=False,
        calibration="synthetic/shapes:train",
        calibration_samples=1,
        test="synthetic/shapes:test",
        test_samples=500,
        hardware="none",
        fp32=Measured(accuracy=0.9, **precise),
        int8=Measured(accuracy=0.9, **{**precise, "mean_average_precision": 0.7}),
    )
    assert "in float32, mAP 0.7000 beside 0.8000, on 500 pictures" in write_card(
        artifact.manifest.model_copy(update={"quantization": record})
    )
