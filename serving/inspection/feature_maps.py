"""Feature maps of the served graph: the output of an activation."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx.inliner import inline_local_functions

from artifacts import Artifact, Runtime
from artifacts.pictures import Picture
from serving.inspection.activations import find_activations
from serving.problems import RequestError

MAX_LISTED = 10
"""Maximum number of layers that an error message lists."""


class FeatureMaps:
    """An artifact's graph with all activations as outputs.

    It has a session of its own, because ONNX Runtime can neither fuse away tensors that are outputs
    nor reuse their memory.

    Args:
        artifact: a verified artifact.
        threads: number of ONNX Runtime threads within one call; 0 means one per core.

    Raises:
        ArtifactError: the graph's file has changed since it was verified.
    """

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        model = inline_local_functions(onnx.load_model_from_string(artifact.read_graph()))
        self._tensors = {each.name: each.tensor for each in find_activations(model.graph)}
        known = {output.name for output in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=tensor)  # ONNX Runtime infers whether it is in float16
            for tensor in self._tensors.values()
            if tensor not in known
        )
        self.runtime = Runtime(model.SerializeToString(), artifact.manifest.input, threads)

    def read(self, picture: Picture, layer: str) -> npt.NDArray[np.float32]:
        """Return the output of one activation for one picture.

        Args:
            picture: uint8 H x W x 3, of any size.
            layer: name of the activation, as `inspect` lists it.

        Returns:
            float32: C x H x W after a convolution, T x C for the tokens of a transformer, C after
            pooling.

        Raises:
            RequestError: there is no such layer.
        """
        if layer not in self._tensors:
            names = list(self._tensors)
            shown = ", ".join(names[:MAX_LISTED]) + (", …" if len(names) > MAX_LISTED else "")
            raise RequestError(
                "bad-parameter",
                f"layer = {layer!r}: there is no such layer; inspect lists them: {shown}.",
            )
        tensor = self._tensors[layer]
        maps: npt.NDArray[np.float32] = self.runtime.run([picture], [tensor])[tensor][0]
        return maps
