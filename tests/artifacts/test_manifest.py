import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import artifacts
from artifacts import ArtifactError, InputPolicy, Manifest
from artifacts.manifest import Metric

FIELDS = {
    "name": "tiny",
    "task": "classification",
    "code_version": "test",
    "created": datetime(2026, 1, 1, tzinfo=UTC),
}

THRESHOLD = {"target_fmr": 1e-3, "distance": 0.6, "fmr": 8e-4, "fmr_interval": (4e-4, 13e-4)}


def write(path: Path, manifest: Manifest, **changes: object) -> Path:
    """Write a manifest with some of its JSON fields changed afterwards."""
    fields = json.loads(manifest.sealed().canonical())
    path.write_text(json.dumps({**fields, **changes}, indent=1) + "\n")
    return path


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    manifest = Manifest.build(
        **FIELDS,
        classes=("katze", "ćevapčići"),
        input={"native_side": (24, 48)},
        metrics=[{"name": "accuracy", "value": 0.1 + 0.2, "split": "test", "samples": 7}],
        reported={"accuracy": 1 / 3},
    ).sealed()
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.canonical())
    assert Manifest.read(path) == manifest


def test_thresholds_are_read_back_and_left_out_where_there_are_none(tmp_path: Path) -> None:
    assert b"verification" not in Manifest.build(**FIELDS).canonical()
    pairs = {"dataset": "faces/celeba:validation", "people": 30, "same": 90, "different": 4000}
    compared = {"metric": "cosine", "thresholds": [THRESHOLD], "pairs": pairs}
    manifest = Manifest.build(**{**FIELDS, "task": "embedding"}, verification=compared).sealed()
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.canonical())
    again = Manifest.read(path)
    assert again == manifest
    assert again.verification is not None
    assert again.verification.thresholds[0].fmr_interval == (4e-4, 13e-4)


COMMITTED = sorted((Path(artifacts.__file__).parent / "models").glob("*/manifest.json"))


def test_committed_manifests_of_version_1_keep_their_bytes_and_their_meaning() -> None:
    old = [path for path in COMMITTED if json.loads(path.read_bytes())["version"] == 1]
    assert old
    for path in old:
        manifest = Manifest.read(path)  # checks the digest
        assert manifest.version == 1
        assert manifest.canonical() == path.read_bytes()
        policy = manifest.input
        assert policy.resize == ("squash" if policy.fixed_size else "none")
        assert (policy.interpolation, policy.antialias, policy.batch) == ("bicubic", True, "any")
        assert (policy.resize_to, policy.normalisation) == (None, None)


def test_a_manifest_of_version_1_stays_one_when_it_is_changed(tmp_path: Path) -> None:
    manifest = Manifest.build(**FIELDS, version=1, input={"fixed_size": (8, 9)})
    changed = manifest.model_copy(update={"temperature": 1.5}).sealed()
    path = tmp_path / "manifest.json"
    path.write_bytes(changed.canonical())
    assert list(json.loads(path.read_bytes())["input"]) == [
        "accepted_side",
        "native_side",
        "fixed_size",
    ]
    assert Manifest.read(path) == changed


def test_a_new_manifest_states_the_whole_preparation(tmp_path: Path) -> None:
    manifest = Manifest.build(
        **FIELDS,
        input={
            "fixed_size": (224, 224),
            "resize": "crop",
            "resize_to": 256,
            "interpolation": "bilinear",
            "normalisation": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
            "batch": "one",
        },
    ).sealed()
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.canonical())
    fields = json.loads(path.read_bytes())
    assert fields["version"] == 2
    assert fields["input"]["normalisation"]["colour_order"] == "rgb"
    # manifests from before there were these fields keep their bytes
    later = {"drawing": "mnist", "detail": 32, "max_aspect": 1.5}
    assert fields["input"].keys() == InputPolicy.model_fields.keys() - later.keys()
    with_all = manifest.input.model_copy(update=later)
    assert with_all.model_dump().keys() == InputPolicy.model_fields.keys()
    assert Manifest.read(path) == manifest


def test_version_1_cannot_say_what_version_2_can(tmp_path: Path) -> None:
    manifest = Manifest.build(**FIELDS)
    stated = json.loads(manifest.canonical())["input"]
    path = write(tmp_path / "manifest.json", manifest, version=1, input={**stated, "batch": "one"})
    with pytest.raises(ArtifactError, match="changed after it was written"):
        Manifest.read(path)


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_unknown_version_is_refused(tmp_path: Path, version: object) -> None:
    path = write(tmp_path / "manifest.json", Manifest.build(**FIELDS), version=version)
    unknown = r"manifest version .* is unknown; .* reads versions 1 and 2"
    with pytest.raises(ArtifactError, match=unknown):
        Manifest.read(path)


def test_a_newer_version_is_named_before_its_unknown_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "manifest.json", Manifest.build(**FIELDS), version=3, novelty=[1])
    with pytest.raises(ArtifactError, match="manifest version 3 is unknown"):
        Manifest.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000], ids=lambda c: repr(c[:4])
)
def test_what_is_not_a_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"not (a )?JSON"):
        Manifest.read(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "Not A Name"}, "name"),
        ({"name": "../elsewhere"}, "name"),
        ({"task": "segmentation"}, "task"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"input": {"native_side": (24.5, 48)}}, r"input\.native_side\.0"),
        ({"files": {"model.onnx": "abc"}}, r"files\.model\.onnx"),
        ({"colour": "blue"}, "colour"),
        ({"route": "models"}, "route"),
        ({"route": 7}, "route"),
        ({"verification": {"metric": "manhattan"}}, r"verification\.metric"),
        (
            {"verification": {"thresholds": [{**THRESHOLD, "fmr_interval": (0.2, 0.1)}]}},
            r"verification\.thresholds\.0\.fmr_interval",
        ),
        (
            {"verification": {"thresholds": [{**THRESHOLD, "target_fmr": 1.0}]}},
            r"verification\.thresholds\.0\.target_fmr",
        ),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ArtifactError, match=f"^{named} "):
        Manifest.build(**{**FIELDS, **change})


@pytest.mark.parametrize("route", ["birds", "7", "my-birds-2", "b" * 40, None])
def test_a_route_has_any_name_of_the_form(route: str | None) -> None:
    assert Manifest.build(**FIELDS, route=route).route == route


@pytest.mark.parametrize(
    "route",
    ["", "Birds", "-birds", "my_birds", "a/b", "a.b", "vögel", "birds\n", "b" * 41, "models"],
)
def test_another_route_is_refused_with_what_is_accepted(route: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        Manifest.build(**FIELDS, route=route)
    assert str(caught.value).startswith(f"route {route!r}: ")
    assert "1 to 40 of a-z, 0-9 and '-'" in str(caught.value)
    assert "is not 'feedback' or 'models'" in str(caught.value)


def test_faces_is_the_route_of_embeddings_and_of_nothing_else() -> None:
    embedding = {**FIELDS, "task": "embedding"}
    assert Manifest.build(**embedding, route="faces").route == "faces"
    for fields in ({**FIELDS, "route": "faces"}, {**embedding, "route": "birds"}):
        with pytest.raises(ArtifactError, match="'faces' is the route of embedding models"):
            Manifest.build(**fields)


def test_a_changed_value_breaks_the_seal(tmp_path: Path) -> None:
    path = write(tmp_path / "manifest.json", Manifest.build(**FIELDS), temperature=1.5)
    with pytest.raises(ArtifactError, match="changed after it was written"):
        Manifest.read(path)


def test_metric_is_found_by_name_split_and_own_size() -> None:
    figures = [
        Metric(name="accuracy", value=0.5, split="test", samples=10, size="64x64"),
        Metric(name="accuracy", value=0.9, split="test", samples=10),
    ]
    manifest = Manifest.build(**FIELDS, metrics=figures)
    assert manifest.metric("accuracy", "test") == 0.9
    assert manifest.metric("accuracy", "train") is None


def sizes(count: int = 500) -> list[tuple[int, int]]:
    """Widths and heights over the whole accepted range, small ones as often as large ones."""
    random = np.random.default_rng(0)
    return [tuple(pair) for pair in np.exp2(random.uniform(3, 11, (count, 2))).astype(int).tolist()]


def test_policy_without_range_shows_every_picture_as_it_is() -> None:
    assert all(InputPolicy().target(*size) == size for size in sizes())


def test_policy_of_fixed_size_squashes_every_picture_to_it() -> None:
    policy = InputPolicy(fixed_size=(224, 160))  # height, width
    assert {policy.target(*size) for size in sizes()} == {(160, 224)}


def test_policy_rescales_into_its_range_and_leaves_the_rest_alone() -> None:
    policy = InputPolicy(native_side=(24, 48))
    for width, height in sizes():
        w, h = policy.target(width, height)
        if 24 <= math.sqrt(width * height) <= 48:
            assert (w, h) == (width, height)
        elif min(w, h) > policy.accepted_side[0]:
            # half a pixel of rounding in each direction
            assert 24 - 1 <= math.sqrt(w * h) <= 48 + 1.5
            assert abs(math.log(w / h) - math.log(width / height)) < 0.5 / w + 0.5 / h + 0.01
        assert min(w, h) >= policy.accepted_side[0]


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((32, 32), (32, 32)),
        ((8, 8), (24, 24)),
        ((2048, 2048), (48, 48)),
        ((40, 10), (48, 12)),  # side 20 to side 24
        ((2048, 8), (768, 8)),  # side 128 to 48 would be 768 x 3; 8 is the least
    ],
)
def test_policy_targets(size: tuple[int, int], target: tuple[int, int]) -> None:
    assert InputPolicy(native_side=(24, 48)).target(*size) == target


def test_a_multi_label_model_has_a_threshold_for_each_class(tmp_path: Path) -> None:
    labels = {**FIELDS, "task": "multi-label", "classes": ("cat", "dog")}
    manifest = Manifest.build(**labels, route="pets", thresholds=(0.3, 1 / 3)).sealed()
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.canonical())
    assert Manifest.read(path) == manifest
    for wrong in ((), (0.5,), (0.5, 0.5, 0.5), (0.5, 1.5), (0.5, -0.1)):
        with pytest.raises(ArtifactError, match="thresholds"):
            Manifest.build(**labels, thresholds=wrong)
    with pytest.raises(ArtifactError, match="embedding models"):
        Manifest.build(**labels, thresholds=(0.5, 0.5), route="faces")


def test_other_models_have_no_thresholds_of_classes() -> None:
    assert b"thresholds" not in Manifest.build(**FIELDS, classes=("cat", "dog")).canonical()
    with pytest.raises(ArtifactError, match="expected 0 numbers"):
        Manifest.build(**FIELDS, classes=("cat", "dog"), thresholds=(0.5, 0.5))
