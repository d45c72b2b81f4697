"""The contract between the packages: artifacts, the runtime that runs them, and their data sets.

`training` writes artifacts; `serving` and `analysis` read them. This package imports none of the
three, and it never imports torch.
"""

from typing import TYPE_CHECKING, Any

from artifacts.artifact import Artifact, artifact_names, artifacts_root
from artifacts.errors import ArtifactError, DataError, VitrineError
from artifacts.manifest import InputPolicy, Manifest

if TYPE_CHECKING:
    from artifacts.runtime import Runtime, probabilities

__all__ = [
    "Artifact",
    "ArtifactError",
    "DataError",
    "InputPolicy",
    "Manifest",
    "Runtime",
    "VitrineError",
    "artifact_names",
    "artifacts_root",
    "probabilities",
]


def __getattr__(name: str) -> Any:
    """Import the runtime when it is first asked for: a command that lists things needs none."""
    if name not in {"Runtime", "probabilities"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from artifacts import runtime  # noqa: PLC0415

    return getattr(runtime, name)
