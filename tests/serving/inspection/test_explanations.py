"""What speaks for a class: exact for networks with global average pooling, measured for others."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image, ImageFilter

from artifacts import Artifact, artifact, artifacts_root
from artifacts.artifact import MODEL_FILE
from artifacts.contributions import enlarge, shrink
from artifacts.names import artifact_names
from artifacts.pictures import Picture
from serving.inference.served_model import ServedModel
from serving.inspection import explainers
from serving.inspection.explainers import (
    CELLS,
    MAX_CELLS,
    ClassActivationMap,
    Occlusion,
    comparable,
    open_explainer,
)
from serving.inspection.explanations import explain, explainer_of, further_pixels
from serving.inspection.overlay import AGAINST, FOR, MAX_SIDE, draw_overlay
from serving.problems import RequestError
from serving.schemas import Explanation
from tests.graphs import CLASSES, tiny_artifact, tiny_model
from tests.pictures import photograph
from tests.serving.inspection.test_head import two_layers

GAP = {"cars-lite0-finetuned", "cifar10-fast", "cifar10-gap", "cifar10-lite0", "digits"}
"""The served classifiers that end in global average pooling; all others end in another way."""
SIZES = [(32, 32), (50, 31), (150, 210)]


def picture(width: int, height: int, seed: int = 0) -> Picture:
    return np.asarray(photograph(width, height, seed))


def logits_of(model: ServedModel, shown: Picture) -> npt.NDArray[np.float32]:
    """The logits of one picture by the runtime that classifies."""
    row: npt.NDArray[np.float32] = model.runtime.run([shown], ["logits"])["logits"][0]
    return row


def check_sum(model: ServedModel, answer: Explanation, logits: npt.NDArray[np.float32]) -> None:
    """Check that mean and bias of an explanation make up the logit of its class."""
    number = model.manifest.classes.index(answer.label)
    wanted = comparable(logits, model.manifest.task)[number]
    assert answer.bias is not None
    assert answer.logit == pytest.approx(wanted, abs=1e-5)
    assert answer.grid.mean() + answer.bias == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("integers", [True, False], ids=["as served", "in float32"])
@pytest.mark.parametrize("name", sorted(GAP))
def test_mean_and_bias_make_up_the_logit_of_every_served_network(
    name: str, integers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not integers:
        monkeypatch.setattr(artifact, "has_integer_arithmetic", lambda: False)
    opened = Artifact.open(name)
    model = ServedModel(opened, threads=1)
    assert integers or opened.model_file == MODEL_FILE
    for seed, size in enumerate(SIZES):
        shown = picture(*size, seed)
        logits = logits_of(model, shown)
        for label in (None, model.manifest.classes[-1]):
            answer = explain(model, shown, label)
            assert answer.method == "class-activation-map"
            assert answer.model.hash == opened.hash
            check_sum(model, answer, logits)


def test_all_other_served_classifiers_are_explained_by_occlusion() -> None:
    for name in artifact_names(artifacts_root()):
        opened = Artifact.open(name)
        if opened.manifest.task != "embedding" and name not in GAP:
            assert isinstance(open_explainer(ServedModel(opened, threads=1)), Occlusion), name


def test_the_map_weights_the_last_maps_as_the_classifier_does(tmp_path: Path) -> None:
    plain = tiny_model()
    plain.graph.output.append(helper.make_tensor_value_info("r2", TensorProto.FLOAT, None))
    shown = picture(32, 20)
    (maps,) = ReferenceEvaluator(plain).run(["r2"], {"images": shown[None]})
    weights = next(numpy_helper.to_array(t) for t in plain.graph.initializer if t.name == "w3")
    every = np.einsum("nchw,ck->khw", maps, weights)
    for number, label in enumerate(CLASSES):
        answer = explain(ServedModel(tiny_artifact(tmp_path)), shown, label)
        assert answer.label == label
        np.testing.assert_allclose(answer.grid, every[number] - every.mean(axis=0), atol=1e-4)


def test_the_best_class_is_explained_by_default(tmp_path: Path) -> None:
    model, shown = ServedModel(tiny_artifact(tmp_path)), picture(40, 30)
    answer = explain(model, shown)
    assert answer.label == CLASSES[int(logits_of(model, shown).argmax())]
    assert answer == explain(model, shown, answer.label)
    others = [explain(model, shown, label).probability for label in CLASSES]
    assert answer.probability == max(others)
    assert sum(others) == pytest.approx(1)


def test_logits_of_a_multi_label_model_stand_alone(tmp_path: Path) -> None:
    fields = {"task": "multi-label", "thresholds": (0.5,) * 3}
    model, shown = ServedModel(tiny_artifact(tmp_path, **fields)), picture(40, 30)
    logits = logits_of(model, shown)
    for number, label in enumerate(CLASSES):
        answer = explain(model, shown, label)
        assert answer.logit == pytest.approx(float(logits[number]), abs=1e-5)
        assert answer.probability == pytest.approx(1 / (1 + np.exp(-logits[number] / 2)), abs=1e-6)
        check_sum(model, answer, logits)


def test_a_fine_map_is_averaged_and_keeps_its_sum(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path, input={"native_side": (16, 512)}))
    shown = picture(300, 201)  # its maps are 150 x 101
    answer = explain(model, shown)
    assert answer.grid.shape == (MAX_CELLS, MAX_CELLS)
    check_sum(model, answer, logits_of(model, shown))


def test_a_graph_whose_logits_are_not_its_weighted_maps_is_not_taken_for_one(
    tmp_path: Path,
) -> None:
    model = tiny_model()
    index = numpy_helper.from_array(np.arange(16)[::-1].copy(), "reversed")
    model.graph.initializer.append(index)
    flatten = next(node for node in model.graph.node if node.op_type == "Flatten")
    flatten.output[0] = "flat"
    place = list(model.graph.node).index(flatten)
    mixed = helper.make_node("Gather", ["flat", "reversed"], ["features"], axis=1)
    model.graph.node.insert(place + 1, mixed)
    served = ServedModel(tiny_artifact(tmp_path, graph=model))
    assert isinstance(open_explainer(served), Occlusion)
    assert isinstance(open_explainer(ServedModel(tiny_artifact(tmp_path))), ClassActivationMap)


def test_occlusion_measures_how_far_the_logit_falls(tmp_path: Path) -> None:
    fixed = {"fixed_size": (32, 48), "resize": "squash"}
    model = ServedModel(tiny_artifact(tmp_path, graph=two_layers(), input=fixed))
    shown = picture(48, 32)
    answer = explain(model, shown, "green")
    assert (answer.method, answer.bias, answer.grid.shape) == ("occlusion", None, (CELLS, CELLS))
    blurred = np.asarray(Image.fromarray(shown).filter(ImageFilter.GaussianBlur(32 / 8)))
    for row, column, window in (
        (0, 0, np.s_[0:6, 0:9]),
        (3, 2, np.s_[10:18, 9:21]),
        (7, 7, np.s_[26:32, 39:48]),
    ):
        hidden = shown.copy()
        hidden[window] = blurred[window]
        logits = [logits_of(model, p).astype(np.float64) for p in (shown, hidden)]
        before, after = (row_[1] - row_.mean() for row_ in logits)
        assert answer.grid[row, column] == pytest.approx(before - after, abs=1e-5)


def test_the_pictures_of_an_occlusion_are_counted_and_bounded(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path, graph=two_layers(), input={"native_side": None}))
    explainer = explainer_of(model)
    assert further_pixels(model, explainer, (300, 200)) == [60_000] * CELLS * CELLS
    assert len(explainer.views(picture(30, 20))) == explainer.passes(30, 20) == 1 + CELLS * CELLS
    with pytest.raises(RequestError, match=r"65 times at 1000x1000.*0\.98 megapixels") as caught:
        further_pixels(model, explainer, (1000, 1000))
    assert caught.value.code == "too-many-pixels"
    simple = ServedModel(tiny_artifact(tmp_path))
    assert further_pixels(simple, explainer_of(simple), (4096, 4096)) == []


POLICIES = {
    "crop": {"fixed_size": (32, 32), "resize": "crop", "resize_to": 40},
    "pad": {"fixed_size": (32, 32), "resize": "pad"},
    "squash": {"fixed_size": (32, 32), "resize": "squash"},
}


@pytest.mark.parametrize("rule", POLICIES)
def test_the_part_that_was_seen_is_stated_and_mapped_back(rule: str, tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path, input=POLICIES[rule]))
    answer = explain(model, picture(100, 50))
    frame, seen = answer.frame.corners, answer.seen.corners
    if rule == "crop":  # resized to 80 x 40; the middle 32 x 32 of that is kept
        assert frame == seen == pytest.approx((30, 5, 70, 45))
    elif rule == "pad":  # 32 x 16, with 8 rows above and below
        assert frame == pytest.approx((0, -25, 100, 75))
        assert seen == (0, 0, 100, 50)
    else:
        assert frame == seen == (0, 0, 100, 50)
    values = enlarge(answer.grid, frame, 100, 50)
    unseen = np.isnan(values)
    assert unseen.sum() == (100 * 50 - 40 * 40 if rule == "crop" else 0)
    left, top, right, bottom = (round(side) for side in seen)
    assert not unseen[top:bottom, left:right].any()


@pytest.mark.parametrize("rule", POLICIES)
def test_a_place_of_the_map_is_that_place_of_the_picture(rule: str, tmp_path: Path) -> None:
    """Hiding the only bright spot matters most there, whatever the picture was resized to."""
    model = ServedModel(tiny_artifact(tmp_path, graph=two_layers(), input=POLICIES[rule]))
    shown = np.full((50, 100, 3), 60, np.uint8)
    shown[12:20, 55:63] = 255  # its middle is at (59, 16)
    answer = explain(model, shown)
    values = np.nan_to_num(np.abs(enlarge(answer.grid, answer.frame.corners, 100, 50)))
    row, column = np.unravel_index(values.argmax(), values.shape)
    cell = 13 if rule != "crop" else 5  # of 100 and 40 px, an eighth
    assert abs(column - 59) <= cell
    assert abs(row - 16) <= cell


def test_an_unknown_class_is_refused_with_what_is_accepted(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path))
    with pytest.raises(RequestError, match=r"'purple'.*3 classes.*red, green, blue") as caught:
        explain(model, picture(32, 32), "purple")
    assert caught.value.code == "bad-parameter"


def test_the_logits_are_not_changed_by_reading_the_maps(tmp_path: Path) -> None:
    model = ServedModel(tiny_artifact(tmp_path))
    explainer, shown = explainer_of(model), picture(33, 21)
    rows = explainer.runtime.run([shown], explainer.names)
    np.testing.assert_array_equal(rows["logits"][0], logits_of(model, shown))


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    saved = tiny_artifact(tmp_path)
    model = ServedModel(saved)
    saved.model_path.write_bytes(b"another graph")
    with pytest.raises(RequestError) as caught:
        explain(model, picture(32, 32))
    assert caught.value.code == "model-unavailable"


def test_areas_keep_the_mean() -> None:
    grid = np.random.default_rng(0).normal(0, 1, (100, 65))
    smaller = shrink(grid, 64)
    assert smaller.shape == (64, 64)
    assert smaller.mean() == pytest.approx(grid.mean(), abs=1e-12)
    np.testing.assert_allclose(
        shrink(grid[:64, :32], 32), grid[:64, :32].reshape(32, 2, 32).mean(1)
    )


def test_enlarging_is_bilinear_between_the_centres_of_cells() -> None:
    grid = np.array([[0.0, 1.0], [2.0, 3.0]])
    values = enlarge(grid, (0, 0, 8, 4), 8, 4)
    assert values.shape == (4, 8)
    np.testing.assert_allclose(values[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    np.testing.assert_allclose(values[:, 0], [0, 0.5, 1.5, 2])
    image = Image.fromarray(grid.astype(np.float32)).resize((8, 4), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(values, np.asarray(image), atol=1e-6)


def drawn(content: bytes) -> npt.NDArray[np.int64]:
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(np.int64)


def test_the_overlay_shows_signs_strength_and_what_was_not_seen() -> None:
    shown = np.full((40, 80, 3), 128, np.uint8)
    grid = np.array([[4.0, 0.0, 0.0, -2.0]])
    pixels = drawn(draw_overlay(shown, grid, (0, 0, 80, 20)))
    assert pixels.shape == (40, 80, 3)
    np.testing.assert_allclose(pixels[5, 2], 128 + 0.8 * (np.array(FOR) - 128), atol=1)
    np.testing.assert_allclose(pixels[5, 77], 128 + 0.4 * (np.array(AGAINST) - 128), atol=1)
    np.testing.assert_array_equal(pixels[5, 40], 128)
    np.testing.assert_array_equal(pixels[30], np.full((80, 3), round(0.35 * 128)))
    flat = drawn(draw_overlay(shown, np.zeros((2, 2)), (0, 0, 80, 40)))
    assert (flat == 128).all()


def test_large_pictures_are_shrunken() -> None:
    content = draw_overlay(picture(3000, 1500), np.eye(4), (0, 0, 3000, 1500))
    pixels = drawn(content)
    assert pixels.shape == (MAX_SIDE // 2, MAX_SIDE, 3)
    small = drawn(draw_overlay(picture(1024, 512), np.eye(4), (0, 0, 1024, 512)))
    colours = [p - p.mean(axis=2, keepdims=True) for p in (pixels, small)]
    assert np.abs(colours[0] - colours[1]).mean() < 2


DEFICIENCIES = {
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}
"""What linear RGB looks like (Machado, Oliveira and Fernandes 2009, full severity)."""


@pytest.mark.parametrize("kind", DEFICIENCIES)
def test_the_two_colours_differ_with_every_colour_blindness(kind: str) -> None:
    linear = (np.array([FOR, AGAINST]) / 255) ** 2.2
    seen = (linear @ np.array(DEFICIENCIES[kind]).T).clip(0, 1) ** (1 / 2.2)
    assert np.linalg.norm(seen[0] - seen[1]) > 0.4  # black and white are 1.73 apart


def test_the_head_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    find = explainers.find_head

    def counted(model: onnx.ModelProto) -> object:
        calls.append(model)
        return find(model)

    monkeypatch.setattr(explainers, "find_head", counted)
    model = ServedModel(tiny_artifact(tmp_path))
    for seed in range(3):
        explain(model, picture(32, 32, seed))
    assert len(calls) == 1
