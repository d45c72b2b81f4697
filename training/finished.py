"""Finished runs, which are kept until their artifact is written, so that no failure loses one."""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch.serialization import safe_globals

from artifacts import DataError, VitrineError
from training.checkpoint import DAMAGE, read_content, write_content
from training.data import Splits
from training.device import training_hardware
from training.export import NotFiniteError
from training.history import Epoch
from training.networks import Classifier, build
from training.recipe import Recipe
from training.run_state import FINISHED
from training.status import code_hash
from training.svm import KernelResult, SvmHead

RETRY = "The training is kept: `vitrine train publish {name}` repeats only this step."
_ADAPTER = TypeAdapter(Recipe)


class PublishError(VitrineError):
    """A finished run could not be published; it can be published again."""


@dataclass(frozen=True)
class Finished:
    """What training made."""

    recipe: Recipe
    network: Classifier
    """The trained network, on the CPU."""
    history: Sequence[Epoch]
    """A row per epoch; empty for a support-vector machine."""
    precision: str
    """The precision that was used; see `Recipe.precision` and `training.device.used_precision`."""
    kernels: Sequence[KernelResult] = ()
    """Results of the kernels of a support-vector machine; empty otherwise."""
    hardware: str = field(default_factory=training_hardware)
    """What it was trained on."""

    def save(self, folder: Path, splits: Splits, own: dict[str, Any] | None = None) -> None:
        """Write `FINISHED` atomically into the folder of the run.

        Args:
            folder: The folder.
            splits: The pictures that it was trained on, of which the fingerprint is kept.
            own: What `vitrine train PICTURES` keeps besides; None for a run of a recipe.
        """
        content = {
            "recipe": asdict(self.recipe),
            "code": code_hash(self.recipe.network),
            "data": splits.source.fingerprint,
            "network": self.network.state_dict(),
            "svm": self.network.head if self.recipe.svm else None,
            "history": [asdict(row) for row in self.history],
            "kernels": [asdict(row) for row in self.kernels],
            "precision": self.precision,
            "hardware": self.hardware,
            "own": own,
        }
        write_content(folder / FINISHED, content)


@dataclass(frozen=True)
class Kept:
    """A finished run as it was read; the network follows when its pictures are known."""

    recipe: Recipe
    own: dict[str, Any] | None
    """See `Finished.save`."""
    content: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Kept":
        """Read the finished run in a folder.

        Raises:
            PublishError: The file cannot be read, or another version wrote it.
        """
        path = folder / FINISHED
        try:
            with safe_globals([SvmHead]):
                content = read_content(path)
            recipe = _ADAPTER.validate_python(content["recipe"])
            return cls(recipe, content["own"], content)
        except (*DAMAGE, ValidationError) as error:
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise PublishError(
                f"{path} is damaged, or another version of Vitrine wrote it ({reason}); the "
                "command that trained it, given again, continues from its checkpoint."
            ) from None

    def restore(self, splits: Splits) -> Finished:
        """Build the network and load its weights.

        Args:
            splits: The pictures that it was trained on.

        Raises:
            DataError: These are other pictures.
            PublishError: The code of the network has changed.
        """
        name, content = self.recipe.artifact_name, self.content
        if splits.source.fingerprint != content["data"]:
            raise DataError(
                f"{self.recipe.data.name} changed since {name} was trained; restore it, or train "
                "again."
            )
        if code_hash(self.recipe.network) != content["code"]:
            raise PublishError(
                f"the code of the network {self.recipe.network.name} changed since {name} was "
                "trained; restore it, or train again."
            )
        with torch.random.fork_rng(devices=[]):  # the first weights are replaced
            network = build(self.recipe.network, len(splits.classes))
        if content["svm"] is not None:
            network.head = content["svm"]
        network.load_state_dict(content["network"])
        return Finished(
            self.recipe,
            network.eval(),
            [Epoch(**row) for row in content["history"]],
            content.get("precision", self.recipe.precision),  # older versions used the recipe's
            [KernelResult(**row) for row in content["kernels"]],
            content["hardware"],
        )


@contextlib.contextmanager
def saying_how_to_publish(name: str) -> Iterator[None]:
    """End any failure to publish a finished run in a message with the command that repeats it.

    The traceback of an error that is not the project's own is printed first.

    Args:
        name: Name of the run.

    Raises:
        PublishError: Something failed.
        NotFiniteError: The network is useless; publishing it again would not help.
    """
    try:
        yield
    except NotFiniteError:
        raise
    except VitrineError as error:
        raise PublishError(f"{error} {RETRY.format(name=name)}") from error
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise PublishError(
            f"publishing {name} failed: {reason.rstrip('.')}. {RETRY.format(name=name)}"
        ) from error
