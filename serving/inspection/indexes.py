"""The indexes of pictures of the served models, opened when the models are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts import ArtifactError, artifacts_root
from serving.indexes.manifest import index_names, indexes_of, read_manifest
from serving.inference.served_model import ServedModel
from serving.problems import RequestError

if TYPE_CHECKING:
    from serving.indexes.stored import StoredIndex


@dataclass(frozen=True)
class Indexes:
    """The indexes of all models, by the name of the model and that of the index."""

    opened: "dict[tuple[str, str], StoredIndex]" = field(default_factory=dict)
    unavailable: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why an index could not be opened."""

    @classmethod
    def load(
        cls,
        models: Mapping[str, ServedModel],
        root: Path | None = None,
        keep: "Indexes | None" = None,
    ) -> "Indexes":
        """Open the indexes of models.

        Args:
            models: by name.
            root: folder of the artifacts; `artifacts_root()` by default.
            keep: indexes that were opened earlier; one that has not changed since is kept.
        """
        root = root or artifacts_root()
        loaded = cls()
        for model in models:
            for name in index_names(model, root):
                try:
                    old = keep.opened.get((model, name)) if keep else None
                    loaded.opened[model, name] = _open(indexes_of(model, root) / name, old)
                except ArtifactError as error:
                    reason = str(error).replace(f"{root}/", "")  # answers reveal no paths
                    loaded.unavailable[model, name] = reason
        return loaded

    def names(self, model: ServedModel) -> list[str]:
        """Return the names of a model's indexes, also of those that could not be opened."""
        known = (*self.opened, *self.unavailable)
        return sorted(name for of_model, name in known if of_model == model.name)

    def get(self, model: ServedModel, name: str) -> "StoredIndex":
        """Return an index of a model.

        Raises:
            RequestError: there is none, it could not be opened, or it holds embeddings of another
                version of the model.
        """
        if (model.name, name) in self.unavailable:
            raise RequestError("no-index", self.unavailable[model.name, name])
        index = self.opened.get((model.name, name))
        if index is None:
            names = ", ".join(self.names(model)) or "none"
            raise RequestError(
                "no-index",
                f"{model.name} has no index called {name!r}; there are: {names}. `vitrine index "
                f"FOLDER --model {model.name}` makes one.",
            )
        if not index.manifest.fits(model.manifest):
            raise RequestError(
                "index-outdated",
                f"the index {name!r} was made with another version of {model.name}, whose "
                "embeddings cannot be compared with those of this one; run `vitrine index` again.",
            )
        return index


def _open(path: Path, old: "StoredIndex | None") -> "StoredIndex":
    if old is not None and old.manifest == read_manifest(path):
        return old
    from serving.indexes.stored import StoredIndex  # noqa: PLC0415 - most servers have no index

    return StoredIndex.open(path)
