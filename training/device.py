"""The device that trains, and what to say if it is not the expected one."""

import os
from functools import cache

import torch
from rich.console import Console

from artifacts.provenance import hardware, has_gpu

HIDDEN = ("", "-1", "none", "void", "NoDevFiles")
"""Values of the variables of CUDA and NVIDIA's containers by which a GPU is hidden on purpose."""


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


def training_hardware() -> str:
    """Return the processor, and the GPU if there is one that torch can use."""
    if not torch.cuda.is_available():
        return hardware()
    return f"{hardware()}, {torch.cuda.get_device_name()}"
