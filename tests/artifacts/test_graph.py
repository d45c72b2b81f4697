from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts import ArtifactError, InputPolicy, Manifest, Runtime
from artifacts.graph import adapt, check_graph, load_graph
from tests.artifacts.test_manifest import FIELDS
from tests.graphs import tiny_model

HALF = (0.5, 0.5, 0.5)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def stored(path: Path, model: onnx.ModelProto) -> Path:
    file = path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def foreign_model(
    input_name: str = "x", outputs: tuple[str, ...] = ("y",), batch: int | str = "N"
) -> onnx.ModelProto:
    """Float N x 3 x H x W -> conv -> ReLU -> GAP -> linear: 5 outputs, as others export it."""
    random = np.random.default_rng(1)
    weights = {
        "w": random.normal(0, 0.4, (6, 3, 3, 3)).astype(np.float32),
        "head": random.normal(0, 1, (6, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", [input_name, "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["p"]),
        helper.make_node("Flatten", ["p"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], [outputs[0]]),
    ]
    if len(outputs) > 1:
        nodes.append(helper.make_node("Softmax", [outputs[0]], [outputs[1]]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, 3, "H", "W"])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 5]) for n in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def branch(node: onnx.NodeProto, output: str) -> onnx.NodeProto:
    """An If node with `node` in one of its branches."""
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    other = helper.make_node("Identity", [node.input[0]], ["other"])
    other_value = helper.make_tensor_value_info("other", TensorProto.FLOAT, None)
    return helper.make_node(
        "If",
        ["condition"],
        ["branched"],
        then_branch=helper.make_graph([node], "then", [], [value]),
        else_branch=helper.make_graph([other], "else", [], [other_value]),
    )


def custom(model: onnx.ModelProto) -> onnx.NodeProto:
    """A node of a foreign domain that `model` imports."""
    model.opset_import.append(helper.make_opsetid("acme", 1))
    return helper.make_node("Sharpen", ["logits"], ["sharp"], domain="acme")


def external(name: str) -> TensorProto:
    """A tensor whose values lie in /etc/passwd."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def doubling(*extra: onnx.NodeProto) -> onnx.FunctionProto:
    """A model's own function acme::Sharpen: x + x, and `extra` nodes."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), *extra]
    return helper.make_function(
        "acme", "Sharpen", ["x"], ["y"], nodes, [helper.make_opsetid("", 20)]
    )


@pytest.mark.parametrize("content", [b"", b"not a model", b"{}", bytes(100)])
@pytest.mark.parametrize("name", ["model.onnx", "model.json", "model.txt"])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        load_graph(tmp_path / name)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not readable"):
        load_graph(tmp_path / "model.onnx")


def in_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external("stray"))


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=external("stray")))


def in_subgraph(model: onnx.ModelProto) -> None:
    node = branch(helper.make_node("Identity", ["logits"], ["same"]), "same")
    node.attribute[0].g.initializer.append(external("stray"))
    model.graph.node.append(node)


def in_function(model: onnx.ModelProto) -> None:
    model.functions.append(
        doubling(helper.make_node("Constant", [], ["k"], value=external("stray")))
    )


def in_sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(values=external("stray"), dims=[1])


@pytest.mark.parametrize("hide", [in_weights, in_constant, in_subgraph, in_function, in_sparse])
def test_external_data_is_refused(tmp_path: Path, hide: Callable[[onnx.ModelProto], None]) -> None:
    model = tiny_model()
    hide(model)
    with pytest.raises(ArtifactError, match=r"weight 'stray' lies in another file"):
        load_graph(stored(tmp_path, model))


def test_a_custom_operator_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.node.append(custom(model))
    with pytest.raises(ArtifactError, match="acme::Sharpen is not a standard"):
        load_graph(stored(tmp_path, model))


def test_a_custom_operator_in_a_subgraph_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.node.append(branch(branch(custom(model), "sharp"), "branched"))
    with pytest.raises(ArtifactError, match="acme::Sharpen is not a standard"):
        load_graph(stored(tmp_path, model))


def test_a_custom_operator_in_a_function_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.node.append(custom(model))
    hidden = helper.make_node("Blur", ["x"], ["z"], domain="acme")
    model.functions.append(doubling(hidden))
    with pytest.raises(ArtifactError, match="acme::Blur is not a standard"):
        load_graph(stored(tmp_path, model))


def test_a_models_own_function_is_taken_and_runs(tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.node.append(custom(model))
    model.functions.append(doubling())
    model.graph.output.append(helper.make_tensor_value_info("sharp", TensorProto.FLOAT, ["N", 3]))
    load_graph(stored(tmp_path, model))
    answer = Runtime(model.SerializeToString(), InputPolicy()).run(
        [np.full((9, 9, 3), 7, np.uint8)]
    )
    np.testing.assert_allclose(answer["sharp"], 2 * answer["logits"], rtol=1e-6)


def retype(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def reshape(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[3]


def grey(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 1


def rename(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pictures"


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def no_logits(model: onnx.ModelProto) -> None:
    del model.graph.output[0]


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def fix_height(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32


def fix_size(model: onnx.ModelProto) -> None:
    fix_height(model)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (retype, "must be uint8"),
        (reshape, "must be uint8 with shape N x H x W x 3"),
        (grey, "must be uint8 with shape N x H x W x 3"),
        (rename, "exactly one, 'images', is expected"),
        (second_input, "exactly one, 'images', is expected"),
        (no_logits, "needs an output 'logits'"),
        (fix_batch, "must leave N free"),
        (fix_height, "fix both of H and W or none"),
        (fix_size, "fixed at 32x48; the manifest's input policy says None"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    manifest = Manifest.build(**FIELDS)
    model = tiny_model()
    check_graph(stored(tmp_path, model), manifest)
    change(model)
    with pytest.raises(ArtifactError, match=message):
        check_graph(stored(tmp_path, model), manifest)


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

    runtime = Runtime(adapt(model, "classification", MEAN, STD).SerializeToString(), InputPolicy())
    answer = runtime.run(list(pictures))
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)
    head = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "head")
    np.testing.assert_allclose(answer["features"] @ head, expected, atol=1e-4)


def test_adapted_embedding_graph_has_one_output() -> None:
    model = adapt(foreign_model(outputs=("y", "z")), "embedding", HALF, HALF)
    assert Runtime(model.SerializeToString(), InputPolicy()).output_names == ("embedding",)


def test_adapted_uint8_graph_keeps_its_answers() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    before = Runtime(tiny_model().SerializeToString(), InputPolicy()).run([picture])
    model = adapt(tiny_model(), "classification", HALF, HALF)
    after = Runtime(model.SerializeToString(), InputPolicy()).run([picture])
    np.testing.assert_array_equal(after["logits"], before["logits"])
    np.testing.assert_array_equal(after["features"], before["features"])


def test_adapting_renames_inside_subgraphs() -> None:
    model = foreign_model()
    graph = model.graph
    yes = numpy_helper.from_array(np.array(True), "condition")
    graph.initializer.append(yes)
    graph.node.insert(0, branch(helper.make_node("Identity", ["x"], ["same"]), "same"))
    graph.node[1].input[0] = "branched"
    adapted = adapt(model, "classification", HALF, HALF)
    answer = Runtime(adapted.SerializeToString(), InputPolicy()).run(
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
        adapt(model, "classification", HALF, std)


def test_a_graph_of_other_inputs_cannot_be_adapted() -> None:
    model = foreign_model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(ArtifactError, match="neither uint8 N x H x W x 3 nor float N x 3 x H x W"):
        adapt(model, "classification", HALF, HALF)
