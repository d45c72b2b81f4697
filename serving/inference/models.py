"""The models of a server: opened from their artifacts, warmed up, chosen by name or by route."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from artifacts import Artifact, ArtifactError, artifact_names, artifacts_root
from artifacts.artifact import default_version
from artifacts.known.detector import KNOWN_FILE, Detector
from artifacts.manifest import FACES, Manifest
from artifacts.reference import check_fits, read_reference
from artifacts.routes import models_by_route, unclear_defaults
from serving.inference.runtimes import open_runtime
from serving.problems import RequestError
from serving.schemas import ModelInfo, ModelList, Stamp, UnavailableModel


class ServedModel:
    """One artifact with its runtime, ready to answer.

    Args:
        artifact: verified.
        threads: of the runtime, within one call; 0 uses one per core.
        calls: number of calls of the runtime that run at the same time.
        shared: folder for graphs that several processes share; see `artifacts.Runtime`.

    Raises:
        ArtifactError: the graph cannot be run.
        VitrineError: `VITRINE_RUNTIME` asks for a runtime that is not installed.
    """

    def __init__(
        self, artifact: Artifact, threads: int = 0, calls: int = 1, shared: Path | None = None
    ) -> None:
        self.artifact = artifact
        self.threads = threads
        self.shared = shared
        self.runtime = open_runtime(artifact, threads, calls, shared)
        self.reference = read_reference(artifact)
        """What drift is measured against, if the artifact has it."""
        self.detector = _read_detector(artifact)
        """Tells pictures of the model's kinds from others, if the artifact has it."""
        self._warm_up()

    @property
    def name(self) -> str:
        """The name that clients ask for: the artifact's, with its version if it has one."""
        return self.artifact.name

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self.artifact.manifest

    @cached_property
    def stamp(self) -> Stamp:
        """Identifies the model in its answers."""
        return Stamp(name=self.name, hash=self.artifact.hash, synthetic=self.manifest.synthetic)

    @property
    def info(self) -> ModelInfo:
        """What is known about the model."""
        manifest = self.manifest
        return ModelInfo(
            name=self.name,
            task=manifest.task,
            hash=self.artifact.hash,
            synthetic=manifest.synthetic,
            provider=self.runtime.provider,
            route=manifest.route,
            classes=manifest.classes,
            outputs=self.runtime.output_names,
            input=manifest.input,
            temperature=manifest.temperature,
            thresholds=manifest.thresholds,
            known=manifest.known,
            sets=manifest.sets,
            verification=manifest.verification,
            dataset=manifest.dataset,
            parameters=manifest.parameters,
            metrics=manifest.metrics,
            quantization=manifest.quantization,
        )

    def _warm_up(self) -> None:
        """Run the graph once, so that the first request does not wait for its set-up."""
        side = max(64, self.manifest.input.accepted_side[0])
        try:
            black = np.zeros((side, side, 3), np.uint8)
            outputs = self.runtime.run([black])
            self.runtime.run_batch(self.runtime.prepare(black)[None], spread=True)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the model cannot be served
            raise ArtifactError(f"the graph cannot be run: {error}") from None
        if self.reference is not None:
            check_fits(self.reference, outputs)
        if self.detector is not None:
            self.detector.check_fits(outputs["features"], outputs["logits"])


def _read_detector(artifact: Artifact) -> Detector | None:
    """Return the detector of an artifact; None if its manifest records none.

    Raises:
        ArtifactError: the file is missing or not a detector.
    """
    if artifact.manifest.known is None:
        return None
    if KNOWN_FILE not in artifact.manifest.files:
        raise ArtifactError(f"{artifact.name}: the manifest lists no {KNOWN_FILE}; make it again.")
    return Detector.read(artifact.read(KNOWN_FILE))


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
    ) -> Self:
        """Open every artifact under `root` (`artifacts_root()` by default).

        A broken artifact is left out, with the reason, and does not stop the others. A model in
        `keep` whose manifest, and with it the hashes of all its files, is unchanged is kept as it
        is. A model in `keep` whose artifact is broken now is kept, too, but also listed as
        unavailable with the reason. The other arguments are those of `ServedModel`.
        """
        root = root or artifacts_root()
        served: dict[str, ServedModel] = {}
        unavailable: dict[str, str] = {}
        for name in artifact_names(root):
            old = keep.served.get(name) if keep else None
            try:
                artifact = Artifact.open(name, root)
                if old is None or old.manifest != artifact.manifest:
                    served[name] = ServedModel(artifact, threads, calls, shared)
                else:
                    served[name] = old
            except ArtifactError as error:
                unavailable[name] = str(error).replace(f"{root}/", "")  # answers reveal no paths
                if old is not None:
                    served[name] = old
                    unavailable[name] += " The model that was loaded before answers."
        return cls(served, unavailable)

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
        )


def _choices(models: dict[str, ServedModel]) -> str:
    return "there are: " + (", ".join(models) or "none")
