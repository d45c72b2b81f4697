from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from artifacts import ArtifactError, InputPolicy, Manifest, Runtime
from artifacts.graph import check_graph, load_graph
from tests.artifacts.test_manifest import FIELDS
from tests.graphs import tiny_model


def stored(path: Path, model: onnx.ModelProto) -> Path:
    file = path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


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


def fix_batch_of_two(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def test_one_picture_at_a_time_is_taken_if_the_policy_says_so(tmp_path: Path) -> None:
    manifest = Manifest.build(**FIELDS, input={"batch": "one"})
    model = tiny_model()
    check_graph(stored(tmp_path, model), manifest)
    fix_batch(model)
    check_graph(stored(tmp_path, model), manifest)
    fix_batch_of_two(model)
    with pytest.raises(ArtifactError, match="or N = 1 if `batch`"):
        check_graph(stored(tmp_path, model), manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (retype, "must be uint8"),
        (reshape, "must be uint8 with shape N x H x W x 3"),
        (grey, "must be uint8 with shape N x H x W x 3"),
        (rename, "exactly one, 'images', is expected"),
        (second_input, "exactly one, 'images', is expected"),
        (no_logits, "needs an output 'logits'"),
        (fix_batch, "must have a dynamic N"),
        (fix_height, "either both or neither of H and W fixed"),
        (fix_size, r"only takes 32x48 \(height x width\), but `fixed_size` .* policy is None"),
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
