"""Foreign graphs, made to fit the contract."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from artifacts import ArtifactError, InputPolicy, Runtime
from artifacts.imports.adapting import adapt, prepare_graph
from artifacts.imports.inputs import describe
from artifacts.imports.settings import Settings
from tests.artifacts.test_graph import branch
from tests.graphs import MEAN, STD, foreign_model, tiny_model

HALF = (0.5, 0.5, 0.5)


def adapted(
    model: onnx.ModelProto,
    task: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    output: str | None = None,
) -> onnx.ModelProto:
    names = prepare_graph(model)
    foreign = describe(model.graph, None, None)
    normalisation = Settings(mean=mean, std=std).normalisation(foreign)
    classes = None if task == "embedding" else model_classes(model)
    return adapt(model, names, foreign, normalisation, task, classes=classes, output=output).model


def model_classes(model: onnx.ModelProto) -> int:
    head = next(t for t in model.graph.initializer if t.name in {"head", "w3"})
    return int(head.dims[1])


@pytest.mark.parametrize(
    "model",
    [
        foreign_model(),
        foreign_model("images", ("logits",)),
        foreign_model("images", ("embedding", "logits")),
        foreign_model("foreign", ("probabilities", "images")),
    ],
    ids=["plain", "names of the contract", "names swapped", "output called images"],
)
def test_adapted_float_graph_answers_as_numpy_normalisation_and_the_original(
    model: onnx.ModelProto,
) -> None:
    original = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(2).integers(0, 256, (3, 20, 31, 3), np.uint8)
    floats = (pictures / 255 - np.array(MEAN)) / np.array(STD)  # (N, H, W, 3)
    inputs = floats.transpose(0, 3, 1, 2).astype(np.float32)
    expected = original.run(None, {original.get_inputs()[0].name: inputs})[0]

    runtime = Runtime(
        adapted(model, "classification", MEAN, STD).SerializeToString(), InputPolicy()
    )
    answer = runtime.run(list(pictures))
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)
    head = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "head")
    np.testing.assert_allclose(answer["features"] @ head, expected, atol=1e-4)


def test_adapted_embedding_graph_has_one_output() -> None:
    model = adapted(foreign_model(outputs=("y", "z")), "embedding", HALF, HALF, output="y")
    assert Runtime(model.SerializeToString(), InputPolicy()).output_names == ("embedding",)


def test_adapted_uint8_graph_keeps_its_answers() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    before = Runtime(tiny_model().SerializeToString(), InputPolicy()).run([picture])
    model = adapted(tiny_model(), "classification", HALF, HALF)
    after = Runtime(model.SerializeToString(), InputPolicy()).run([picture])
    np.testing.assert_array_equal(after["logits"], before["logits"])
    np.testing.assert_array_equal(after["features"], before["features"])


def test_a_softmax_at_the_end_is_taken_off() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    before = Runtime(tiny_model().SerializeToString(), InputPolicy()).run([picture])
    model = tiny_model()
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
    model.graph.output[0].name = "shares"
    del model.graph.output[1:]
    after = Runtime(
        adapted(model, "classification", HALF, HALF).SerializeToString(), InputPolicy()
    ).run([picture])
    np.testing.assert_array_equal(after["logits"], before["logits"])
    np.testing.assert_array_equal(after["features"], before["features"])


def test_adapting_renames_inside_subgraphs() -> None:
    model = foreign_model()
    graph = model.graph
    yes = numpy_helper.from_array(np.array(True), "condition")
    graph.initializer.append(yes)
    graph.node.insert(0, branch(helper.make_node("Identity", ["x"], ["same"]), "same"))
    graph.node[1].input[0] = "branched"
    changed = adapted(model, "classification", HALF, HALF)
    answer = Runtime(changed.SerializeToString(), InputPolicy()).run(
        [np.zeros((8, 8, 3), np.uint8)]
    )
    assert answer["logits"].shape == (1, 5)


@pytest.mark.parametrize(
    ("model", "std", "message"),
    [
        (helper.make_model(helper.make_graph([], "empty", [], [])), HALF, "has 0 inputs"),
        (foreign_model(), (0.5, 0.0, 0.5), "three numbers above 0"),
    ],
)
def test_what_cannot_be_adapted_is_refused(
    model: onnx.ModelProto, std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        adapted(model, "classification", HALF, std)


def test_a_graph_of_other_inputs_cannot_be_adapted() -> None:
    model = foreign_model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(
        ArtifactError, match=r"shape \? x 4 x \? x \?, which does not tell where the channels are"
    ):
        adapted(model, "classification", HALF, HALF)


def test_a_graph_without_output_cannot_be_adapted() -> None:
    model = foreign_model()
    del model.graph.output[:]
    with pytest.raises(ArtifactError, match="has no output"):
        adapted(model, "classification", HALF, HALF)
