"""The choice of a device and the use of a GPU, with simulated providers: no GPU is needed."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from artifacts import ArtifactError, InputPolicy, Runtime, VitrineError, devices
from artifacts.devices import CPU, PROVIDERS, Device, find
from artifacts.sessions import OnnxSession
from tests.graphs import tiny_model

CUDA, TENSORRT = PROVIDERS["cuda"], PROVIDERS["tensorrt"]
GPU_BUILD = [TENSORRT, CUDA, CPU]
ON_CUDA = Device("cuda", "cuda", 1)


def gpus(count: int, problem: str = "") -> Callable[[str], tuple[int, str]]:
    return lambda _: (count, problem)


@pytest.fixture(autouse=True)
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: False)


@pytest.mark.parametrize(
    ("asked", "providers", "found", "used"),
    [
        ("auto", [CPU], 0, "cpu"),
        ("auto", GPU_BUILD, 2, "cuda"),
        ("cuda", GPU_BUILD, 2, "cuda"),
        ("tensorrt", GPU_BUILD, 2, "tensorrt"),
        ("cpu", GPU_BUILD, 2, "cpu"),
    ],
)
def test_what_is_used(asked: str, providers: list[str], found: int, used: str) -> None:
    device = find(asked, providers, gpus(found))
    assert device == Device(asked, used, 0 if used == "cpu" else found)
    assert device.on_gpu == (used != "cpu")


@pytest.mark.parametrize(
    ("asked", "providers", "problem", "message"),
    [
        ("cuda", [CPU], "", "has no CUDAExecutionProvider (it can use: cpu)"),
        ("tensorrt", [CUDA, CPU], "", "no TensorrtExecutionProvider (it can use: cpu, cuda)"),
        ("cuda", GPU_BUILD, "no driver", "VITRINE_DEVICE=cuda cannot be used: no driver."),
        ("gpu", GPU_BUILD, "", "auto, cpu, cuda or tensorrt is expected"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    asked: str, providers: list[str], problem: str, message: str
) -> None:
    with pytest.raises(VitrineError) as caught:
        find(asked, providers, gpus(1 if not problem else 0, problem))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_says_why_it_uses_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("auto", GPU_BUILD, gpus(0, "no driver")) == Device("auto", "cpu", 0, "no driver")
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    assert "has no CUDAExecutionProvider" in find("auto", [CPU], gpus(0)).problem


def test_workers_use_what_the_server_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DEVICE", "cuda")
    monkeypatch.setenv(devices.FOUND, json.dumps(Device("cuda", "cuda", 3)))
    assert devices.current() == Device("cuda", "cuda", 3)
    monkeypatch.setenv("VITRINE_DEVICE", "cpu")  # not what was looked for
    assert devices.current() == Device("cpu", "cpu")


def test_the_workers_take_the_gpus_in_turn() -> None:
    assert [devices.use_one_gpu(i, 2, {}) for i in (1, 2, 3)] == ["0", "1", "0"]
    some = {"CUDA_VISIBLE_DEVICES": "GPU-a, 5"}
    assert [devices.use_one_gpu(i, 2, some) for i in (1, 2, 3)] == ["GPU-a", "5", "GPU-a"]


def test_the_providers_and_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.providers_for(Device("cpu", "cpu")) == [(CPU, {})]
    monkeypatch.setenv("VITRINE_GPU_MEGABYTES", "500")
    names = [name for name, _ in devices.providers_for(Device("tensorrt", "tensorrt", 1))]
    assert names == [TENSORRT, CUDA, CPU]
    (cuda, options), _ = devices.providers_for(ON_CUDA)
    assert cuda == CUDA
    assert options["gpu_mem_limit"] == "500000000"
    assert options["arena_extend_strategy"] == "kSameAsRequested"


class Simulated:
    """A session on the CPU that says that it runs elsewhere."""

    def __init__(self, source: Any, options: Any, providers: Any, **_: Any) -> None:
        self.asked = [name for name, _ in providers]
        self.real = ort.InferenceSession(source, options, providers=[CPU])
        self.shapes: list[tuple[int, ...]] = []

    def get_providers(self) -> list[str]:
        return self.asked

    def get_outputs(self) -> Any:
        return self.real.get_outputs()

    def run(self, names: Any, feed: dict[str, Any]) -> Any:
        self.shapes += [images.shape for images in feed.values()]
        return self.real.run(names, feed)


class Fallen(Simulated):
    """A session that fell back to the CPU."""

    def get_providers(self) -> list[str]:
        return [CPU]


def test_a_session_that_falls_back_is_refused_or_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graph, options = tiny_model().SerializeToString(), ort.SessionOptions()
    with pytest.raises(ArtifactError, match="runs on CPUExecutionProvider, although CUDA"):
        devices.open_session(graph, options, ON_CUDA, Fallen)
    devices.open_session(graph, options, Device("auto", "cuda", 1), Fallen)
    assert "runs on CPUExecutionProvider" in caplog.text


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr("artifacts.sessions.open_session", _simulated)
    monkeypatch.setattr("artifacts.sessions.current", lambda: ON_CUDA)


def _simulated(source: Any, options: Any, device: Device, _: Any) -> Any:
    return devices.open_session(source, options, device, Simulated)


@pytest.mark.usefixtures("on_cuda")
@pytest.mark.parametrize("count", [1, 2, 3, 7, 256, 257])
def test_padded_rows_never_reach_answers(count: int) -> None:
    graph = tiny_model().SerializeToString()
    images = np.random.default_rng(count).integers(0, 256, (count, 9, 12, 3), np.uint8)
    padded = Runtime(graph, InputPolicy(), threads=1)
    assert padded.provider == CUDA
    found = padded.run_batch(images)
    plain = ort.InferenceSession(graph, providers=[CPU])
    for name, rows in found.items():
        assert len(rows) == count
        (expected,) = plain.run([name], {plain.get_inputs()[0].name: images})
        np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.usefixtures("on_cuda")
def test_batches_on_a_gpu_come_in_few_sizes() -> None:
    session = OnnxSession(tiny_model().SerializeToString(), 1)
    for count in range(1, 70):
        session.run(["logits"], np.zeros((count, 8, 8, 3), np.uint8))
    sizes = {shape[0] for shape in session._session.shapes}
    assert sizes == {1, 2, 4, 8, 16, 32, 64, 128}


def test_batches_on_the_cpu_are_not_padded() -> None:
    session = OnnxSession(tiny_model().SerializeToString(), 1, device=Device("cpu", "cpu"))
    simulated = Simulated(tiny_model().SerializeToString(), None, [(CPU, {})])
    session._session = simulated
    session.run(["logits"], np.zeros((3, 8, 8, 3), np.uint8))
    assert simulated.shapes == [(3, 8, 8, 3)]
