"""The network is compiled where that pays, and training goes on where it fails."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn

from artifacts import VitrineError
from artifacts.progress import Progress
from training import compiling
from training.compiling import Compiled, pays
from training.data import load_splits
from training.history import Epoch
from training.loop import fit
from training.recipe import load_recipe
from training.run import initial_network


class Card:
    """An accelerator as it is with a GPU."""

    device = torch.device("cuda")
    num_processes = 1


def compiled(model: nn.Module, sizes: int = 1) -> tuple[Compiled, io.StringIO]:
    text = io.StringIO()
    report = Progress("x", console=Console(file=text))
    return Compiled(model, sizes, Card(), report), text  # type: ignore[arg-type]


def train(folder: Path) -> tuple[list[Epoch], dict[str, torch.Tensor]]:
    recipe = load_recipe("mnist-relu-cross-entropy-sgd", "smoke", changes={"epochs": 1})
    splits = load_splits(recipe.data, recipe.seed)
    network = initial_network(recipe, splits)
    model, history = fit(network, splits, recipe, folder, Accelerator(cpu=True))
    return history, model.state_dict()


def test_it_pays_if_enough_training_is_left() -> None:
    assert not pays(300, 1)
    assert pays(301, 1)
    assert not pays(1500, 6)
    assert pays(1801, 6)


def test_the_first_epoch_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def fake(model: nn.Module, **settings: Any) -> nn.Module:
        made.append(settings)
        return model

    monkeypatch.setattr(torch, "compile", fake)
    model = nn.Linear(2, 2)
    long, text = compiled(model)
    long.decide(1000)
    long.decide(1000)
    assert [settings["mode"] for settings in made] == ["reduce-overhead"]
    assert "about 1000 s of training are left" in text.getvalue()
    short, _ = compiled(model)
    short.decide(10)
    short.decide(1000)
    monkeypatch.setenv("VITRINE_COMPILE", "never")
    never, _ = compiled(model)
    never.decide(1000)
    assert len(made) == 1


def test_a_cpu_never_compiles_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "COST", 0.0)
    monkeypatch.setattr(torch, "compile", None)
    train(tmp_path)


def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_COMPILE", "yes")
    with pytest.raises(VitrineError, match="use one of auto, always, never"):
        compiled(nn.Linear(2, 2))


@pytest.mark.parametrize("place", ["at once", "forward", "backward"])
def test_a_failure_falls_back(
    place: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wherever compiling fails, the weights are those of a training that never tried."""
    _, expected = train(tmp_path_factory.mktemp("plain"))
    capsys.readouterr()

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, *__: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no backward kernel")

    def fail(model: nn.Module, **_: Any) -> Any:
        if place == "at once":
            raise RuntimeError("no compiler")

        def forward(*inputs: torch.Tensor) -> torch.Tensor:
            if place == "forward":
                raise RuntimeError("no kernel")
            return Failing.apply(model(*inputs))  # type: ignore[no-any-return, no-untyped-call]

        return forward

    monkeypatch.setenv("VITRINE_COMPILE", "always")
    monkeypatch.setattr(torch, "compile", fail)
    history, weights = train(tmp_path_factory.mktemp("failing"))
    assert len(history) == 1
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    said = capsys.readouterr().err
    assert said.count("WARNING: the network cannot be compiled (RuntimeError: no ") == 1


def test_a_mistake_of_the_loop_is_still_raised() -> None:
    network, _ = compiled(nn.Linear(2, 2))

    def wrong(_: nn.Module) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        network.run(wrong)


def test_a_compiled_network_learns_the_same(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dynamo and autograd's tracing run, as on a GPU; only the kernels are not generated."""
    _, expected = train(tmp_path_factory.mktemp("plain"))
    compile_ = torch.compile
    made = []

    def traced(model: nn.Module, **settings: Any) -> Any:
        made.append(settings)
        return compile_(model, backend="aot_eager", dynamic=settings["dynamic"])

    monkeypatch.setenv("VITRINE_COMPILE", "always")
    monkeypatch.setattr(torch, "compile", traced)
    _, weights = train(tmp_path_factory.mktemp("compiled"))
    assert len(made) == 1
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, atol=1e-5, rtol=1e-4)
