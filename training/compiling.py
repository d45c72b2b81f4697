"""Compiles the network of a training where that pays, and never lets it break a run."""

import os
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import torch
from accelerate import Accelerator
from torch import nn

from artifacts import VitrineError
from artifacts.progress import Progress

COST = 60.0
"""Time that compiling for one size of pictures is assumed to take, seconds."""
GAIN = 0.2
"""Fraction of the time of training that compiling is assumed to save."""
CHOICES = ("auto", "always", "never")
Choice = Literal["auto", "always", "never"]
Result = TypeVar("Result")


class Compiled:
    """A network that is compiled for a GPU in the middle of its training, if enough of it is left.

    Its kernels are fused, and all those of a pass are launched at once as a CUDA graph, so that a
    small network does not wait for the host. Compiling takes about as long for each size of
    pictures that occurs, whatever the length of the training. It therefore pays only if a fraction
    `GAIN` of the time that is left, at the measured rate of an epoch, exceeds `COST` for each size.
    `VITRINE_COMPILE` decides otherwise: `always`, from the first batch and also on a CPU, or
    `never`. Several processes never compile.

    Whatever compiling or running a compiled network raises is told once, and training goes on
    without.

    Args:
        model: The network, as `accelerate` has prepared it.
        sizes: Number of different sizes of pictures.
        accelerator: Device and processes.
        report: Where to tell what is decided.

    Raises:
        VitrineError: `VITRINE_COMPILE` has another value.
    """

    def __init__(
        self, model: nn.Module, sizes: int, accelerator: Accelerator, report: Progress
    ) -> None:
        self.model, self.sizes, self.report = model, sizes, report
        self.choice = choice()
        single = accelerator.num_processes == 1
        gpu = accelerator.device.type == "cuda"
        self._undecided = self.choice == "auto" and gpu and single
        self._compiled: nn.Module | None = None
        if self.choice == "always" and single:
            self._compile("VITRINE_COMPILE is `always`")

    def decide(self, left: float) -> None:
        """Compile if that pays; the first call decides.

        Args:
            left: Time that training takes without compiling from now on, seconds.
        """
        if not self._undecided:
            return
        self._undecided = False
        if pays(left, self.sizes):
            self._compile(f"about {left:.0f} s of training are left")

    def run(self, work: Callable[[nn.Module], Result]) -> Result:
        """Call `work` with the network, and again without compiling if it fails.

        Args:
            work: Computes outputs and gradients of a batch.
        """
        if self._compiled is None:
            return work(self.model)
        try:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return work(self._compiled)
        except Exception as error:  # noqa: BLE001 - compilers raise anything
            self._give_up(error)
        return work(self.model)

    def _compile(self, why: str) -> None:
        self.report.log(f"compiling the network for {self.sizes} sizes of pictures: {why}")
        compiler = cast("Callable[..., Any]", torch.compile)
        try:
            self._compiled = compiler(self.model, mode="reduce-overhead", dynamic=False)
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._compiled = None
        self.model.zero_grad(set_to_none=True)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        self.report.log(
            f"WARNING: the network cannot be compiled ({type(error).__name__}: {reason}); training "
            "goes on without. VITRINE_COMPILE=never does not try."
        )


def pays(left: float, sizes: int) -> bool:
    """Return whether compiling is assumed to save more time than it takes; see `Compiled`."""
    return left * GAIN > sizes * COST


def choice() -> Choice:
    """Return the value of `VITRINE_COMPILE`.

    Raises:
        VitrineError: It is not one of `CHOICES`.
    """
    value = os.environ.get("VITRINE_COMPILE") or "auto"
    if value not in CHOICES:
        raise VitrineError(f"VITRINE_COMPILE={value}: use one of {', '.join(CHOICES)}.")
    return cast("Choice", value)
