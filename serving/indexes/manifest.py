"""Where the indexes of a model are, and what is known about each without opening it."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from artifacts.artifact import PRECISIONS
from artifacts.distribution import artifacts_root
from artifacts.errors import ArtifactError
from artifacts.input_policy import InputPolicy
from artifacts.manifest import NAME_PATTERN, Manifest, Sha256
from artifacts.strict import Strict

FOLDER = ".indexes"
"""Folder below that of the artifacts. No artifact can have a name that starts with a dot."""
MANIFEST_FILE = "index.json"


class IndexManifest(Strict):
    """What an index was made of, and how."""

    version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    model: str
    """Name of the model, with its version if it has one."""
    hash: Sha256
    """sha256 of the graph that gave the embeddings."""
    input: InputPolicy
    """How pictures became inputs of the graph."""
    metric: Literal["cosine"] = "cosine"
    exact: bool = True
    """Whether a search compares the query with every vector."""
    recall: float | None = None
    """Share of the ten nearest neighbours that an approximate index finds; None if exact."""
    pictures: int = 0
    dimension: int = 0
    source: str
    """Absolute path of the folder or the table that was indexed, or URL of the folder, without
    secrets. Answers do not show it."""
    created: datetime
    command: str
    files: dict[str, Sha256] = Field(default_factory=dict)
    """sha256 of the other files of the index, by name."""

    def fits(self, model: Manifest) -> bool:
        """Whether the embeddings are those of a model.

        Its graphs in int8 and float16 give nearly the same features as its float32 graph.
        """
        graphs = {model.files.get(graph) for graph in PRECISIONS}
        return self.hash in graphs and self.input == model.input


def index_names(model: str, root: Path | None = None) -> list[str]:
    """Return the sorted names of the indexes of a model."""
    found = indexes_of(model, root).glob(f"[!.]*/{MANIFEST_FILE}")
    return sorted(path.parent.name for path in found)


def indexes_of(model: str, root: Path | None = None) -> Path:
    """Return the folder of a model's indexes; `root` is the folder of the artifacts."""
    return (root or artifacts_root()) / FOLDER / model


def read_manifest(path: Path) -> IndexManifest:
    """Read the manifest of the index in a folder.

    Raises:
        ArtifactError: it is missing or not valid.
    """
    try:
        return IndexManifest.model_validate_json((path / MANIFEST_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise broken(path, f"{MANIFEST_FILE}: {error}".splitlines()[0]) from None


def broken(path: Path, reason: str) -> ArtifactError:
    """Return the error about an index that cannot be read."""
    return ArtifactError(
        f"the index {path.name!r} of {path.parent.name} cannot be read ({reason}); make it again "
        "with `vitrine index`."
    )
