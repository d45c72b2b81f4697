"""Probabilities at the end of a graph, which are served once."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from artifacts import Runtime, probabilities
from tests.artifacts.conftest import assert_refused
from tests.artifacts.imports.conftest import KEPT, Import, Refuse
from tests.artifacts.imports.networks import (
    CLASSES,
    LOGITS,
    NAMES,
    constant,
    network,
    node,
    own_answer,
    photos,
    scaled,
    softmax,
)

LINES = (
    node("ReduceMax", [LOGITS], "most", axes=[1], keepdims=1),
    node("Sub", [LOGITS, "most"], "less"),
    node("Exp", ["less"], "e"),
    constant("axis", np.array([1])),
    node("ReduceSum", ["e", "axis"], "sum", keepdims=1),
    node("Div", ["e", "sum"], "p"),
)
SOFTMAX = node("Softmax", [LOGITS], "s", axis=1)
ENDINGS: dict[str, tuple[NodeProto, ...]] = {
    "last": (SOFTMAX,),
    "cast": (SOFTMAX, node("Cast", ["s"], "p", to=TensorProto.FLOAT)),
    "identity": (SOFTMAX, node("Identity", ["s"], "p")),
    "flatten": (SOFTMAX, node("Flatten", ["s"], "p")),
    "reshape": (
        SOFTMAX,
        constant("shape", np.array([-1, CLASSES])),
        node("Reshape", ["s", "shape"], "p"),
    ),
    "squeeze": (
        constant("axes", np.array([2, 3])),
        node("Unsqueeze", [LOGITS, "axes"], "map"),
        node("Softmax", ["map"], "s", axis=1),
        node("Squeeze", ["s", "axes"], "p"),
    ),
    "four axes": (
        constant("axes", np.array([2, 3])),
        node("Unsqueeze", [LOGITS, "axes"], "map"),
        node("Softmax", ["map"], "p", axis=1),
    ),
    "clip": (
        SOFTMAX,
        constant("low", np.array(1e-7, np.float32)),
        constant("high", np.array(1, np.float32)),
        node("Clip", ["s", "low", "high"], "p"),
    ),
    "written out": LINES,
    "written out without maximum": (
        node("Exp", [LOGITS], "e"),
        constant("axis", np.array([1])),
        node("ReduceSum", ["e", "axis"], "sum", keepdims=1),
        node("Div", ["e", "sum"], "p"),
    ),
    "log-softmax": (node("LogSoftmax", [LOGITS], "p", axis=1),),
    "logarithm of a softmax": (SOFTMAX, node("Log", ["s"], "p")),
}


def shares(runtime: Runtime) -> Any:
    return probabilities(runtime.run(photos())["logits"], 1.0)


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_a_softmax_in_the_graph_is_served_once(
    imported: Import, end: tuple[NodeProto, ...]
) -> None:
    done, _, runtime = imported(network(*end), *KEPT)
    logits = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(shares(runtime), softmax(logits), atol=1e-5)
    answer = runtime.run(photos())
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-4)
    assert answer["features"].shape == (5, 6)
    assert done.out.startswith("imported as net")


def test_the_probability_that_was_served_doubled(imported: Import) -> None:
    """With two softmaxes, the likeliest of ten classes had 0.146 instead of 0.49."""
    end = (
        constant("ten", np.log([0.49, *[0.51 / 9] * 9]).astype(np.float32)),
        node("Mul", [LOGITS, "zero"], "nothing"),
        constant("zero", np.array(0, np.float32)),
        node("Add", ["nothing", "ten"], "z"),
        node("Softmax", ["z"], "s", axis=1),
        node("Identity", ["s"], "p"),
    )
    end = (end[2], end[1], end[0], *end[3:])
    classes = ",".join(f"c{number}" for number in range(10))
    _, _, runtime = imported(network(*end, classes=10), *KEPT, classes=classes)
    np.testing.assert_allclose(shares(runtime).max(1), 0.49, atol=1e-5)
    once = own_answer(network(*end, classes=10), scaled(photos()))
    assert softmax(once).max() == pytest.approx(0.146, abs=1e-3)


def test_probabilities_that_only_values_show_are_served_as_logarithms(imported: Import) -> None:
    def end(output: str) -> tuple[NodeProto, ...]:
        return (
            node("Softplus", [LOGITS], "positive"),
            constant("axis", np.array([1])),
            node("ReduceSum", ["positive", "axis"], "sum", keepdims=1),
            node("Div", ["positive", "sum"], output),
        )

    done, _, runtime = imported(network(*end("p")), *KEPT)
    expected = own_answer(network(*end("p")), scaled(photos()))
    assert expected.sum(1) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(shares(runtime), expected, atol=1e-6)
    assert "their logarithm is served as logits" in done.out


def test_a_probability_of_zero_stays_zero(imported: Import) -> None:
    end = (
        node("HardSigmoid", [LOGITS], "hard", alpha=2.0),
        constant("some", np.array([[0, 1e-3, 1e-3, 1e-3]], np.float32)),
        constant("mask", np.array([[0, 1, 1, 1]], np.float32)),
        node("Mul", ["hard", "mask"], "masked"),
        node("Add", ["masked", "some"], "kept"),
        constant("axis", np.array([1])),
        node("ReduceSum", ["kept", "axis"], "sum", keepdims=1),
        node("Div", ["kept", "sum"], "p"),
    )
    _, _, runtime = imported(network(*end), *KEPT)
    expected = own_answer(network(*end), scaled(photos()))
    np.testing.assert_allclose(shares(runtime), expected, atol=1e-6)
    assert shares(runtime)[:, 0].max() < 1e-20


def test_a_softmax_over_the_wrong_axis_is_not_taken_for_one(attempt: Refuse) -> None:
    model = network(node("Softmax", [LOGITS], "p", axis=0))
    # for one picture, every value is 1
    assert_refused(attempt(model, *KEPT), "each between 0 and 1 and do not sum to 1")


def test_a_temperature_in_the_graph_stays(imported: Import) -> None:
    end = (
        constant("t", np.array(2.5, np.float32)),
        node("Div", [LOGITS, "t"], "cool"),
        node("Softmax", ["cool"], "p", axis=1),
    )
    _, _, runtime = imported(network(*end), *KEPT)
    np.testing.assert_allclose(
        shares(runtime), own_answer(network(*end), scaled(photos())), atol=1e-6
    )


SIGMOID = node("Sigmoid", [LOGITS], "p")


def test_sigmoids_are_no_softmax(attempt: Refuse, imported: Import) -> None:
    refused = attempt(network(SIGMOID), *KEPT)
    assert_refused(refused, "Give --task multi-label if a picture can have several classes")
    _, _, runtime = imported(network(SIGMOID), *KEPT, "--activation", "none")
    found = runtime.run(photos())["logits"]
    np.testing.assert_allclose(found, own_answer(network(SIGMOID), scaled(photos())), atol=1e-6)


@pytest.mark.parametrize(
    "end",
    [
        (SIGMOID,),
        (
            node("Sigmoid", [LOGITS], "q"),
            constant("low", np.array(0, np.float32)),
            constant("high", np.array(1, np.float32)),
            node("Clip", ["q", "low", "high"], "p"),
        ),
        (node("Neg", [LOGITS], "n"), node("Sigmoid", ["n"], "q"), node("Identity", ["q"], "p")),
    ],
)
def test_sigmoids_of_labels_are_served_once(imported: Import, end: tuple[NodeProto, ...]) -> None:
    done, artifact, runtime = imported(network(*end), *KEPT, task="multi-label")
    expected = own_answer(network(*end), scaled(photos()))
    found = probabilities(runtime.run(photos())["logits"], 1.0, "multi-label")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert artifact.manifest.thresholds == (0.5,) * CLASSES
    assert done.out.startswith("imported as net")


def test_sigmoids_that_only_values_show_get_log_odds(imported: Import) -> None:
    end = (node("HardSigmoid", [LOGITS], "p", alpha=0.01),)
    done, _, runtime = imported(network(*end), *KEPT, task="multi-label")
    expected = own_answer(network(*end), scaled(photos()))
    assert 0.1 < expected.min() < expected.max() < 0.9
    found = probabilities(runtime.run(photos())["logits"], 1.0, "multi-label")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert "their log(p / (1 - p)) is served as logits" in done.out


def test_a_softmax_is_no_answer_about_labels(attempt: Refuse) -> None:
    model = network(node("Softmax", [LOGITS], "p"))
    refused = attempt(model, *KEPT, task="multi-label")
    assert_refused(refused, "the model chooses one class for each picture; give --task class")


def test_logits_of_labels_are_served_as_they_are(imported: Import) -> None:
    _, _, runtime = imported(network(), *KEPT, task="multi-label")
    expected = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, atol=1e-5)


def test_one_sigmoid_for_two_classes_becomes_two_logits(imported: Import) -> None:
    done, _, runtime = imported(network(SIGMOID, classes=1), *KEPT, classes="no,yes")
    expected = own_answer(network(SIGMOID, classes=1), scaled(photos()))
    assert 0.001 < expected.min() < expected.max() < 0.999
    np.testing.assert_allclose(
        shares(runtime), np.concatenate([1 - expected, expected], 1), atol=1e-6
    )
    logits = runtime.run(photos())["logits"]
    assert np.all(logits[:, 0] == 0)
    np.testing.assert_allclose(
        logits[:, 1:], own_answer(network(classes=1), scaled(photos())), atol=1e-5
    )
    assert "about the second class" in done.out


def test_one_logit_for_two_classes_is_served_only_if_that_is_said(
    attempt: Refuse, imported: Import
) -> None:
    model = network(classes=1)
    assert_refused(attempt(model, *KEPT, classes="no,yes"), "give --activation none if it is")
    _, _, runtime = imported(model, *KEPT, "--activation", "none", classes="no,yes")
    expected = own_answer(network(classes=1), scaled(photos()))
    np.testing.assert_allclose(shares(runtime)[:, 1:], 1 / (1 + np.exp(-expected)), atol=1e-6)


def test_an_activation_that_the_values_contradict_is_refused(attempt: Refuse) -> None:
    refused = attempt(network(), *KEPT, "--activation", "softmax")
    assert_refused(refused, "--activation softmax: the values of output 'y' are none of a softmax")


def label_and(*names: str, drop: bool = False) -> onnx.ModelProto:
    end = (
        SOFTMAX,
        node("ArgMax", ["s"], "label", axis=1, keepdims=0),
        node("Identity", [LOGITS], "raw"),
    )
    model = network(*end, outputs=names)
    for output in model.graph.output:
        if output.name == "label":
            output.type.tensor_type.elem_type = TensorProto.INT64
    if drop:
        del model.graph.output[:]
    return model


@pytest.mark.parametrize("names", [("s", "label"), ("label", "s"), ("s", "raw"), ("raw", "s")])
def test_of_several_outputs_the_one_of_classes_is_served(
    imported: Import, names: tuple[str, ...]
) -> None:
    _, _, runtime = imported(label_and(*names), *KEPT)
    logits = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(shares(runtime), softmax(logits), atol=1e-6)


def test_outputs_that_both_could_be_meant_are_listed(attempt: Refuse, imported: Import) -> None:
    end = (
        constant("half", np.array(0.5, np.float32)),
        node("Mul", [LOGITS, "half"], "other"),
    )
    model = network(*end, outputs=(LOGITS, "other"))
    refused = attempt(model, *KEPT)
    assert_refused(refused, "'y' (N x 4, float32), 'other' (N x 4, float32). Give the one")
    assert_refused(attempt(model, *KEPT, "--output", "z"), "has no output 'z'; it has 'y'")
    _, _, runtime = imported(model, *KEPT, "--output", "other")
    expected = own_answer(model, scaled(photos()), "other")
    np.testing.assert_allclose(runtime.run(photos())["logits"], expected, atol=1e-5)


def test_outputs_of_which_none_fits_are_listed(attempt: Refuse) -> None:
    refused = attempt(label_and("label", "s"), *KEPT, classes="a,b,c")
    assert_refused(refused, "none of its outputs is a value for each of 3 classes: 'label' (N")
    assert_refused(
        attempt(network(), *KEPT, classes="a,b,c"), "gives 4 logits, but --classes has 3"
    )


def test_a_zipmap_is_left_out(imported: Import) -> None:
    """Outputs of skl2onnx: the label, and a dictionary of probabilities for each picture."""
    end = (
        SOFTMAX,
        node("ArgMax", ["s"], "output_label", axis=1, keepdims=0),
        helper.make_node(
            "ZipMap",
            ["s"],
            ["output_probability"],
            domain="ai.onnx.ml",
            classlabels_int64s=list(range(CLASSES)),
        ),
    )
    model = network(*end, outputs=("output_label", "output_probability"))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
    )
    model.graph.output[1].CopyFrom(helper.make_value_info("output_probability", maps))
    _, _, runtime = imported(model, *KEPT)
    logits = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(shares(runtime), softmax(logits), atol=1e-6)
    _, _, runtime = imported(model, *KEPT, "--force", "--output", "output_probability")
    np.testing.assert_allclose(shares(runtime), softmax(logits), atol=1e-6)


def test_names_of_the_contract_in_a_foreign_graph_do_not_clash(imported: Import) -> None:
    """The features, the logits and a constant have the names that the import would use."""
    model = network(
        node("Identity", [LOGITS], "features"),
        node("Identity", ["features"], "vitrine_mul_2"),
        node("Softmax", ["vitrine_mul_2"], "images", axis=1),
        node("Identity", ["images"], "logits"),
    )
    _, _, runtime = imported(model, *KEPT)
    logits = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(shares(runtime), softmax(logits), atol=1e-6)
    _, artifact, _ = imported(model, *KEPT, "--force")
    onnx.checker.check_model(onnx.load(artifact.model_path))


def test_weights_among_inputs_and_inputs_among_outputs(imported: Import) -> None:
    model = network(outputs=("x", LOGITS, "bias"))
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    model.ir_version = 3
    _, artifact, runtime = imported(model, *KEPT)
    logits = own_answer(network(), scaled(photos()))
    np.testing.assert_allclose(runtime.run(photos())["logits"], logits, atol=1e-5)
    graph = onnx.load(artifact.model_path).graph
    assert [value.name for value in graph.input] == ["images"]


def test_an_embedding_of_several_outputs_is_named(attempt: Refuse, imported: Import) -> None:
    model = network(node("Identity", ["flat"], "vector"), outputs=("vector", LOGITS))
    refused = attempt(model, *KEPT, task="embedding")
    assert_refused(refused, "several of its outputs could be the embedding: 'vector' (N x 6")
    _, _, runtime = imported(model, *KEPT, "--output", "vector", task="embedding")
    expected = own_answer(model, scaled(photos()), "vector")
    np.testing.assert_allclose(runtime.run(photos())["embedding"], expected, atol=1e-5)


def test_the_number_of_names_counts(attempt: Refuse) -> None:
    assert len(NAMES.split(",")) == CLASSES
    refused = attempt(network(node("Softmax", [LOGITS], "p")), *KEPT, classes="a,b")
    assert_refused(refused, "the model gives 4 logits, but --classes has 2 names")
