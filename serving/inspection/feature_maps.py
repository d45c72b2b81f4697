"""Feature maps of the served graph: what an activation gives, value by value."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions

from artifacts import Artifact, Runtime
from artifacts.runtime import Picture
from serving.inspection.activations import find_activations
from serving.problems import RequestError

MAX_LISTED = 10


class FeatureMaps:
    """An artifact's graph whose activations can be read.

    A session of its own: a tensor that may be read cannot share its memory, nor be fused away.

    Args:
        artifact: verified.
        threads: ONNX Runtime threads within one call; 0 takes one per core.

    Raises:
        ArtifactError: the graph's file has changed since it was verified.
    """

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        model = inline_local_functions(onnx.load_model_from_string(artifact.read_graph()))
        self._tensors = {each.name: each.tensor for each in find_activations(model.graph)}
        known = {output.name for output in model.graph.output}
        model.graph.output.extend(
            helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)
            for tensor in self._tensors.values()
            if tensor not in known
        )
        self.runtime = Runtime(model.SerializeToString(), artifact.manifest.input, threads)

    def read(self, picture: Picture, layer: str) -> npt.NDArray[np.float32]:
        """What one activation gives for one picture.

        Args:
            picture: uint8 H x W x 3, of any size.
            layer: its name, as `inspect` gives it.

        Returns:
            C x H x W of convolutions; T x C of transformers' tokens; C behind pooling.

        Raises:
            RequestError: there is no such layer.
        """
        if layer not in self._tensors:
            names = list(self._tensors)
            shown = ", ".join(names[:MAX_LISTED]) + (", …" if len(names) > MAX_LISTED else "")
            raise RequestError(
                "bad-parameter", f"layer = {layer!r}: there is none; inspect names them: {shown}."
            )
        tensor = self._tensors[layer]
        maps: npt.NDArray[np.float32] = self.runtime.run([picture], [tensor])[tensor][0]
        return maps
