"""A pretended GPU: sessions on its provider compute on the CPU, as coarsely as a test asks for."""

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from artifacts.devices import CPU, PROVIDERS, Device

CUDA = PROVIDERS["cuda"]
Change = Callable[[bytes], bytes]
PRODUCTS = ("Conv", "Gemm", "MatMul")


def in_tf32(graph: bytes) -> bytes:
    """Round both inputs of every product to 10 bits of mantissa, as a GPU does in TF32."""
    model = onnx.load_from_string(graph)
    nodes = []
    for node in model.graph.node:
        for place in (0, 1) if node.op_type in PRODUCTS else ():
            coarse, wide = (f"{kind}{len(nodes)}" for kind in ("coarse", "wide"))
            cast = helper.make_node("Cast", [node.input[place]], [coarse], to=TensorProto.FLOAT16)
            nodes += [cast, helper.make_node("Cast", [coarse], [wide], to=TensorProto.FLOAT)]
            node.input[place] = wide
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


class PretendedSession:
    """A session on the CPU that says that it is on another provider."""

    def __init__(self, session: Any, provider: str, error: Exception | None) -> None:
        self._session, self._error = session, error
        self.get_outputs = session.get_outputs
        self.get_providers = lambda: [provider, CPU]

    def run(self, *arguments: Any) -> Any:
        if self._error is not None:
            raise self._error
        return self._session.run(*arguments)


def pretend_card(
    monkeypatch: pytest.MonkeyPatch,
    change: Change = in_tf32,
    providers: Sequence[str] = (CUDA,),
    error: Exception | None = None,
) -> None:
    """Let this process find a GPU.

    Args:
        monkeypatch: undoes it.
        change: what the card's imprecision makes of a graph; it may raise as a session would.
        providers: names of the providers that ONNX Runtime has besides the CPU.
        error: what the card raises when it runs a graph.
    """
    real = ort.InferenceSession

    def session(graph: Any, options: Any, providers: Sequence[Any], **_: object) -> Any:
        first = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if first == CPU:
            return real(graph, options, providers=[CPU])
        made = real(change(graph), options, providers=[CPU])
        return PretendedSession(made, first, error)

    monkeypatch.setattr("artifacts.devices.has_gpu", lambda: True)
    monkeypatch.setattr("artifacts.sessions.current", lambda: Device("auto", "cuda", 1))
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*providers, CPU])
    monkeypatch.setattr(ort, "InferenceSession", session)


def use_device(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    """Let artifacts, the making of graphs in float16, and sessions find this device."""
    for module in ("artifact", "float16", "sessions"):
        monkeypatch.setattr(f"artifacts.{module}.current", lambda: device)
    monkeypatch.setattr("artifacts.artifact.has_gpu", lambda: device.on_gpu)
