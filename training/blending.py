"""Averages the weights of a network with those of the model that its training continued from.

A network that trains on with other pictures becomes better on those, and forgets a little of what
it started from. Averages of the weights before and after can be better than both on either kind of
picture, at the cost of one network (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903).
"""

import numpy as np
import onnx
from onnx import numpy_helper

from artifacts import Artifact
from artifacts.artifact import MODEL_FILE
from artifacts.graph import load_graph
from training.half_precision import stored_weights
from training.overrides import parent_recipe
from training.recipe import Recipe, RecipeError


def open_parent(recipe: Recipe) -> Artifact:
    """Open the model that a recipe's training continued from.

    Raises:
        ArtifactError: It is missing.
        RecipeError: The recipe starts from none.
    """
    parent = parent_recipe(recipe)
    if parent is None:
        raise RecipeError(f"{recipe.name} starts from no other model; set continue_from.")
    return Artifact.open(parent.artifact_name)


def blend(graph: bytes, parent: Artifact, share: float) -> bytes:
    """Average the weights of a graph with those of the artifact that its training started from.

    Batch normalisation is folded into the convolutions of both graphs, so that its statistics are
    averaged as a part of their weights.

    Args:
        graph: Serialized ONNX, in float32, as `training.export.export` returns it.
        parent: Its graph has the same weights by name and shape, in single or half precision.
        share: The parent's share of every weight (0..1).

    Returns:
        The graph with the averages, in float32.

    Raises:
        RecipeError: The graph of `parent` has other weights.
    """
    model = onnx.load_from_string(graph)
    before = stored_weights(load_graph(parent.path / MODEL_FILE))
    for tensor in model.graph.initializer:
        after = numpy_helper.to_array(tensor)
        if after.dtype != np.float32:
            continue
        start = before.get(tensor.name)
        if start is None or start.shape != after.shape:
            raise RecipeError(
                f"{parent.name} has no weight {tensor.name!r} of shape {after.shape}; "
                "parent_share needs the network that continue_from names, unchanged."
            )
        average = share * start.astype(np.float32) + (1 - share) * after
        tensor.CopyFrom(numpy_helper.from_array(average.astype(np.float32), tensor.name))
    return bytes(model.SerializeToString())
