"""The models of a server: opened from their artifacts, warmed up, chosen by name or by route."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import onnx

from artifacts import Artifact, ArtifactError, Runtime, artifact_names, artifacts_root
from artifacts.artifact import default_version
from artifacts.devices import current
from artifacts.known.detector import KNOWN_FILE, Detector
from artifacts.manifest import FACES, Manifest
from artifacts.reference import check_fits, read_reference
from artifacts.routes import models_by_route, unclear_defaults
from serving.inference.runtimes import open_runtime
from serving.problems import RequestError
from serving.schemas import DeviceInfo, ModelInfo, ModelList, Stamp, UnavailableModel


class ServedModel:
    """One artifact with its runtime, ready to answer.

    Args:
        artifact: verified.
        threads: of the runtime, within one call; 0 uses one per core.
        calls: number of calls of the runtime that run at the same time.
        shared: folder for graphs that several processes share; see `artifacts.Runtime`.
        lazy: open the runtime when it is first used, or by `open`.

    Raises:
        ArtifactError: the graph cannot be run, unless `lazy`.
        VitrineError: `VITRINE_RUNTIME` asks for a runtime that is not installed.
    """

    def __init__(
        self,
        artifact: Artifact,
        threads: int = 0,
        calls: int = 1,
        shared: Path | None = None,
        *,
        lazy: bool = False,
    ) -> None:
        self.artifact = artifact
        self.threads = threads
        self.shared = shared
        self._calls = calls
        self._runtime: Runtime | None = None
        self._opening = Lock()
        self.resident_bytes = 0
        """Resident memory by which the process grew when the runtime was opened, in bytes."""
        self.reference = read_reference(artifact)
        """What drift is measured against, if the artifact has it."""
        self.detector = _read_detector(artifact)
        """Tells pictures of the model's kinds from others, if the artifact has it."""
        if not lazy:
            self.open()

    @property
    def is_open(self) -> bool:
        """Whether the runtime is open and warm."""
        return self._runtime is not None

    def open(self) -> Runtime:
        """Open the runtime and run it once; several threads may ask for it, one opens it.

        Raises:
            ArtifactError: the graph cannot be run.
        """
        with self._opening:
            if self._runtime is None:
                before = _resident_bytes()
                runtime = open_runtime(self.artifact, self.threads, self._calls, self.shared)
                self._warm_up(runtime)
                self.resident_bytes = max(0, _resident_bytes() - before)
                self._runtime = runtime
            return self._runtime

    @property
    def runtime(self) -> Runtime:
        """Runs the graph.

        Raises:
            RequestError: it is opened only now, and cannot be.
        """
        if self._runtime is not None:
            return self._runtime
        try:
            return self.open()
        except ArtifactError as error:
            raise RequestError("model-unavailable", f"model {self.name!r}: {error}") from None

    @property
    def provider(self) -> str:
        """What runs the model, as answers state it; empty until the model is open."""
        return "" if self._runtime is None else self._runtime.provider

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        if self._runtime is not None:
            return self._runtime.output_names
        graph = onnx.load_model_from_string(self.artifact.read_graph()).graph
        return tuple(output.name for output in graph.output)

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
            provider=self.provider,
            route=manifest.route,
            classes=manifest.classes,
            outputs=self.outputs,
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

    def _warm_up(self, runtime: Runtime) -> None:
        """Run the graph once, so that the first request does not wait for its set-up."""
        side = max(64, self.manifest.input.accepted_side[0])
        try:
            black = np.zeros((side, side, 3), np.uint8)
            outputs = runtime.run([black])
        except Exception as error:  # noqa: BLE001 - whatever it raises, the model cannot be served
            raise ArtifactError(f"the graph cannot be run: {error}") from None
        if self.reference is not None:
            check_fits(self.reference, outputs)
        if self.detector is not None:
            self.detector.check_fits(outputs["features"], outputs["logits"])


def _resident_bytes() -> int:
    """Resident memory of this process; 0 on systems without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


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


def selected(wanted: tuple[str, ...], names: Sequence[str]) -> "Sequence[str]":
    """Return those of the artifacts' `names` that are wanted: all of them if none is named.

    A name without a version stands for all versions of the model.
    """
    return [name for name in names if not wanted or {name, name.split("@")[0]} & {*wanted}]


def _choices(models: dict[str, ServedModel]) -> str:
    return "there are: " + (", ".join(models) or "none")
