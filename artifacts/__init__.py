"""The contract between the packages: artifacts, the runtime that runs them, and their data sets.

`training` writes artifacts; `serving` and `analysis` read them. This package imports none of the
three, and it never imports torch.
"""

from artifacts.artifact import Artifact, artifact_names, artifacts_root
from artifacts.errors import ArtifactError, DataError, VitrineError
from artifacts.manifest import InputPolicy, Manifest
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
