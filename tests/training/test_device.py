"""A GPU that is expected and cannot be used is told once, loudly; none is missed without reason."""

import io

import pytest
import torch
from rich.console import Console

from training import device
from training.device import missing_gpu, say_device, training_hardware, used_precision


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device, "has_gpu", lambda: False)
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    say_device.cache_clear()


def told() -> str:
    text = io.StringIO()
    console = Console(file=text)
    for _ in range(3):  # one line per process, however many recipes it trains
        say_device(console)
    return text.getvalue()


def test_without_a_gpu_nothing_is_missing() -> None:
    assert missing_gpu() is None
    assert told() == "no GPU found: training on the CPU\n"


@pytest.mark.parametrize(
    ("name", "value"), [("CUDA_VISIBLE_DEVICES", "0"), ("NVIDIA_VISIBLE_DEVICES", "all")]
)
def test_a_gpu_that_is_asked_for_is_missed(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    said = told()
    assert said.startswith("WARNING: the GPU cannot be used: training on the CPU")
    assert "this machine shows none" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("built", "reason"), [(None, "without CUDA"), ("13.0", "needs a driver")])
def test_a_gpu_that_torch_cannot_use_is_missed(
    built: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", built)
    assert reason in told()


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_on_purpose_is_not_missed(
    hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert missing_gpu() is None


def test_the_hardware_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without = training_hardware()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert missing_gpu() is None
    assert training_hardware() == f"{without}, NVIDIA H100"


@pytest.mark.parametrize(
    ("capabilities", "used"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_bw": False}, "no"),
        ({"architecture": "x86_64", "avx2": True, "avx512_bw": True}, "bf16"),
        ({"architecture": "x86_64", "avx2": True, "avx_ne_convert": True}, "bf16"),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, "bf16"),
        ({"architecture": "aarch64", "neon": True}, "no"),
    ],
)
def test_bfloat16_is_used_where_it_is_fast(
    capabilities: dict[str, bool | str], used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert used_precision("bf16") == used
    assert used_precision("no") == "no"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert used_precision("bf16") == "bf16"


def test_onednn_has_code_in_bfloat16_where_it_is_used() -> None:
    """The names of the capabilities are torch's, and the rule is that of oneDNN."""
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert used_precision("bf16") == ("bf16" if supported else "no")
