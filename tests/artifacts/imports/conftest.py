"""An import of a model, and the artifact that it makes."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest

from artifacts import Artifact, Runtime
from tests.artifacts.conftest import Cli, cli, root
from tests.artifacts.imports.networks import NAMES
from tests.commands import Done

__all__ = ["cli", "root"]


class Imported(NamedTuple):
    """How the command ended, and a runtime of what it made."""

    done: Done
    artifact: Artifact
    runtime: Runtime


Import = Callable[..., Imported]
Refuse = Callable[..., Done]
SCALED = ("--scale", "0-1")
KEPT = (*SCALED, "--resize", "none")


@pytest.fixture
def attempt(cli: Cli, tmp_path: Path) -> Refuse:
    """Save a model and run `import` on it, with four classes unless others are given."""

    def run(
        model: onnx.ModelProto,
        *options: object,
        task: str = "classification",
        classes: str | None = NAMES,
    ) -> Done:
        onnx.save(model, tmp_path / "net.onnx")
        named = ["--classes", classes] if classes and task != "embedding" else []
        return cli("import", tmp_path / "net.onnx", "--task", task, *named, *options)

    return run


@pytest.fixture
def imported(attempt: Refuse) -> Import:
    """Import a model, and open it."""

    def run(model: onnx.ModelProto, *options: object, **kwargs: str | None) -> Imported:
        done = attempt(model, *options, **kwargs)
        assert done.status == 0, done
        artifact = Artifact.open("net")
        return Imported(done, artifact, Runtime.open(artifact))

    return run
