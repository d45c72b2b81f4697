"""The contract between the packages: artifacts, the runtime that runs them, and their data sets.

`training` writes artifacts; `serving` and `analysis` read them. This package imports none of the
three, and it never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifacts.artifact import Artifact
    from artifacts.distribution import artifacts_root
    from artifacts.errors import ArtifactError, DataError, VitrineError
    from artifacts.input_policy import InputPolicy
    from artifacts.manifest import Manifest
    from artifacts.names import artifact_names
    from artifacts.runtime import Runtime, probabilities

MODULES = {
    "Artifact": "artifact",
    "ArtifactError": "errors",
    "DataError": "errors",
    "InputPolicy": "input_policy",
    "Manifest": "manifest",
    "Runtime": "runtime",
    "VitrineError": "errors",
    "artifact_names": "names",
    "artifacts_root": "distribution",
    "probabilities": "runtime",
}
"""Where each name is defined."""

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
    """Import a name's module when the name is first used: most programs need only some of them."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"artifacts.{MODULES[name]}"), name)
