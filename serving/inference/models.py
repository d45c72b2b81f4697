"""The models of a server: opened from their artifacts, warmed up, chosen by name or by route."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from artifacts import Artifact, ArtifactError, artifacts_root
from artifacts.devices import current
from artifacts.manifest import FACES, Manifest
from artifacts.names import artifact_names, default_version, selected
from artifacts.routes import models_by_route, unclear_defaults
from serving.inference.served_model import ServedModel
from serving.problems import RequestError
from serving.schemas import DeviceInfo, ModelList, UnavailableModel


@dataclass(frozen=True)
class Models:
    """All models of a server, and the artifacts that could not be opened."""

    served: dict[str, ServedModel]
    unavailable: dict[str, str]
    """Why each of these artifacts could not be opened. A model that was loaded before from the same
    folder is in `served` all the same."""

    @classmethod
    def load(
        cls,
        root: Path | None = None,
        threads: int = 0,
        keep: "Models | None" = None,
        calls: int = 1,
        shared: Path | None = None,
        only: tuple[str, ...] = (),
        *,
        lazy: bool = False,
    ) -> Self:
        """Open the artifacts under `root` (`artifacts_root()` by default).

        A broken artifact is left out, with the reason, and does not stop the others. A model in
        `keep` whose manifest, and with it the hashes of all its files, is unchanged is kept as it
        is. A model in `keep` whose artifact is broken now is kept, too, but also listed as
        unavailable with the reason. The other arguments are those of `ServedModel`.

        Args:
            root: folder of the artifacts.
            threads: see `ServedModel`.
            keep: the models that were loaded before.
            calls: see `ServedModel`.
            shared: see `ServedModel`.
            only: names of the models to serve, see `selected`; all if it is empty.
            lazy: open only the default of each route now, and the others at their first use.
        """
        root = root or artifacts_root()
        served: dict[str, ServedModel] = {}
        unavailable: dict[str, str] = {}
        before = keep.served if keep else {}

        def refuse(name: str, error: ArtifactError) -> None:
            unavailable[name] = str(error).replace(f"{root}/", "")  # answers reveal no paths
            served.pop(name, None)
            if name in before and before[name].is_open:
                served[name] = before[name]
                unavailable[name] += " The model that was loaded before answers."

        for name in selected(only, artifact_names(root)):
            old = before.get(name)
            try:
                artifact = Artifact.open(name, root)
                same = old is not None and old.manifest == artifact.manifest
                served[name] = (
                    old
                    if old is not None and same
                    else ServedModel(artifact, threads, calls, shared, lazy=True)
                )
            except ArtifactError as error:
                refuse(name, error)
        # If a default cannot be opened, another model becomes the default.
        while closed := [m for m in cls(served, unavailable).expected(lazy) if not m.is_open]:
            for model in closed:
                try:
                    model.open()
                except ArtifactError as error:
                    refuse(model.name, error)
        return cls(served, unavailable)

    def expected(self, lazy: bool) -> "list[ServedModel]":
        """The models that are open before the server is ready; see `load`."""
        if lazy:
            return [models[0] for models in self.routes.values()]
        return list(self.served.values())

    def try_again(
        self,
        root: Path | None = None,
        threads: int = 0,
        calls: int = 1,
        shared: Path | None = None,
    ) -> Self:
        """Open the artifacts that could not be opened; the models that are served stay.

        The reason may have passed, such as a lack of memory or of open files. The arguments are
        those of `load`.

        Returns:
            This object if none of them can be opened now.
        """
        root = root or artifacts_root()
        served, unavailable = dict(self.served), dict(self.unavailable)
        for name in self.unavailable.keys() & set(artifact_names(root)):
            try:
                served[name] = ServedModel(Artifact.open(name, root), threads, calls, shared)
            except ArtifactError:
                continue
            del unavailable[name]
        if unavailable == self.unavailable:
            return self
        return type(self)(dict(sorted(served.items())), unavailable)

    def get(self, name: str) -> ServedModel:
        """The model called `name`, or the version of it that `default_version` chooses.

        Raises:
            RequestError: there is no such model, or it could not be loaded.
        """
        name = self._version(name)
        if name in self.served:
            return self.served[name]
        if name in self.unavailable:
            raise RequestError("model-unavailable", f"model {name!r}: {self.unavailable[name]}")
        raise RequestError(
            "unknown-model", f"no model is called {name!r}; {_choices(self.served)}."
        )

    @cached_property
    def routes(self) -> dict[str, tuple[ServedModel, ...]]:
        """The models of every route that has any; the first one answers by default.

        `artifacts.routes.models_by_route` defines the order.
        """
        # Cached, because ranking a dozen models took 0.15 ms of every request to a route.
        ranked = models_by_route(self._manifests, self._names)
        return {route: tuple(self.served[n] for n in names) for route, names in ranked.items()}

    @cached_property
    def classifiers(self) -> dict[str, ServedModel]:
        """The default model of every route that answers with classes."""
        return {route: models[0] for route, models in self.routes.items() if route != FACES}

    @property
    def unclear_defaults(self) -> "list[str]":
        """A sentence about each route whose default no manifest, or more than one, names."""
        return unclear_defaults(self._manifests, self._names)

    def of_route(self, route: str) -> tuple[ServedModel, ...]:
        """The models of a route, none if it is unknown; the first one answers by default."""
        return self.routes.get(route, ())

    def choose(self, route: str, name: str | None) -> ServedModel:
        """The model that answers a request to a route.

        Raises:
            RequestError: no model serves the route, or `name` is not one of its models.
        """
        models = {m.name: m for m in self.of_route(route)}
        if not models:
            broken = f" ({len(self.unavailable)} could not be loaded)" if self.unavailable else ""
            raise RequestError(
                "no-model-for-route",
                f"no model here serves the route {route!r}; routes that answer with classes: "
                f"{', '.join(self.classifiers) or 'none'}. /v1/models lists all models{broken}.",
            )
        if name is None:
            return next(iter(models.values()))
        found = models.get(self._version(name))
        if found is None:
            raise RequestError(
                "unknown-model", f"no model of {route!r} is called {name!r}; {_choices(models)}."
            )
        return found

    @property
    def _manifests(self) -> dict[str, Manifest]:
        return {name: model.manifest for name, model in self.served.items()}

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.served, *self.unavailable)))

    def _version(self, name: str) -> str:
        return default_version(name, self._names)

    def list(self) -> ModelList:
        """The answer of `/v1/models`: all models, and the artifacts that could not be loaded."""
        return ModelList(
            models=tuple(model.info for model in self.served.values()),
            unavailable=tuple(
                UnavailableModel(name=name, reason=reason)
                for name, reason in self.unavailable.items()
            ),
            defaults={route: models[0].name for route, models in self.routes.items()},
            device=DeviceInfo(**current()._asdict()),
        )


def _choices(models: dict[str, ServedModel]) -> str:
    return "there are: " + (", ".join(models) or "none")
