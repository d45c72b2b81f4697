"""The device that trains, its precision, and what to say if they are not the expected ones."""

import os
from functools import cache

import torch
from rich.console import Console

from artifacts.provenance import hardware, has_gpu
from training.settings import Precision

HIDDEN = ("", "-1", "none", "void", "NoDevFiles")
"""Values of the variables of CUDA and NVIDIA's containers by which a GPU is hidden on purpose."""
BF16 = ("avx512_bw", "avx_ne_convert", "bf16")
"""Capabilities of a CPU, in the words of torch, of which oneDNN needs one for code in bfloat16."""


def missing_gpu() -> str | None:
    """Say why the GPU that is expected cannot be used; None if none is missing.

    One is expected if the system shows one, or if it was asked for by `CUDA_VISIBLE_DEVICES` or, as
    in NVIDIA's containers, by `NVIDIA_VISIBLE_DEVICES`.
    """
    if torch.cuda.is_available():
        return None
    ours = os.environ.get("CUDA_VISIBLE_DEVICES")
    if ours is not None and ours in HIDDEN:
        return None
    containers = os.environ.get("NVIDIA_VISIBLE_DEVICES", "") not in HIDDEN
    if not (ours or containers or has_gpu()):
        return None
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is built without CUDA; install a build for CUDA, as "
            "https://pytorch.org says"
        )
    if not has_gpu():
        return (
            "a GPU is asked for, and this machine shows none; start a container with `--gpus all`"
        )
    return (
        f"torch {torch.__version__} needs a driver for CUDA {torch.version.cuda} or later, which "
        "`nvidia-smi` names"
    )


@cache  # once per process
def say_device(console: Console) -> None:
    """Say that training runs on the CPU, loudly if a GPU was expected."""
    reason = missing_gpu()
    if reason is None:
        console.print("[yellow]no GPU found: training on the CPU[/yellow]")
        return
    console.print(
        f"[bold red]WARNING: the GPU cannot be used: training on the CPU, many times slower. "
        f"{reason[0].upper()}{reason[1:]}.[/bold red]",
        soft_wrap=True,
    )


def used_precision(asked: Precision) -> Precision:
    """Return the precision in which this machine trains when a recipe asks for one.

    It is another one on a CPU for which oneDNN has no code in bfloat16: torch has a loop for that,
    which is several times slower than float32.
    """
    if asked == "bf16" and not torch.cuda.is_available() and not has_bf16():
        return "no"
    return asked


def has_bf16() -> bool:
    """Return whether the CPU computes convolutions and products in bfloat16 quickly."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in BF16)


@cache  # once per process
def say_float32(console: Console) -> None:
    """Say that training uses float32 in place of bfloat16."""
    console.print(
        "[yellow]this CPU has no fast bfloat16: training in float32 instead[/yellow]",
        soft_wrap=True,
    )


def training_hardware() -> str:
    """Return the processor, and the GPU if there is one that torch can use."""
    if not torch.cuda.is_available():
        return hardware()
    return f"{hardware()}, {torch.cuda.get_device_name()}"
