"""The models of a server: opened from the artifacts, warmed up, chosen by name or by route."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from artifacts import Artifact, ArtifactError, artifact_names, artifacts_root
from artifacts.artifact import default_version
from artifacts.manifest import Manifest
from artifacts.reference import check_fits, read_reference
from serving.inference.runtimes import open_runtime
from serving.problems import RequestError
from serving.schemas import ModelInfo, ModelList, Stamp, UnavailableModel

ROUTES = ("cifar10", "cars", "digits")
"""Purposes that are served by classifying."""


class ServedModel:
    """One artifact with its runtime, ready to answer.

    Args:
        artifact: verified.
        threads: of the runtime, within one call; 0 takes one per core.
        calls: of the runtime, made at once.

    Raises:
        ArtifactError: the graph cannot be run.
        VitrineError: `VITRINE_RUNTIME` asks for what is not there.
    """

    def __init__(self, artifact: Artifact, threads: int = 0, calls: int = 1) -> None:
        self.artifact = artifact
        self.threads = threads
        self.runtime = open_runtime(artifact, threads, calls)
        self.reference = read_reference(artifact)
        """What its answers are compared with, where the artifact has it."""
        self._warm_up()

    @property
    def name(self) -> str:
        """What it is asked for by: the artifact's, with the version if it has one."""
        return self.artifact.name

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self.artifact.manifest

    @cached_property
    def stamp(self) -> Stamp:
        """What answers of this model are signed with."""
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
            verification=manifest.verification,
            dataset=manifest.dataset,
            parameters=manifest.parameters,
            metrics=manifest.metrics,
            quantization=manifest.quantization,
        )

    def _warm_up(self) -> None:
        """Answer once, so that the first request is not the one that pays for the set-up."""
        side = max(64, self.manifest.input.accepted_side[0])
        try:
            black = np.zeros((side, side, 3), np.uint8)
            outputs = self.runtime.run([black])
            self.runtime.run_batch(self.runtime.prepare(black)[None], spread=True)
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises, it cannot serve
            raise ArtifactError(f"the graph cannot be run: {error}") from None
        if self.reference is not None:
            check_fits(self.reference, outputs)


@dataclass(frozen=True)
class Models:
    """All models of a server, and the artifacts that could not be opened with the reason."""

    served: dict[str, ServedModel]
    unavailable: dict[str, str]

    @classmethod
    def load(
        cls,
        root: Path | None = None,
        threads: int = 0,
        keep: "Models | None" = None,
        calls: int = 1,
    ) -> Self:
        """Open every artifact under `root` (`artifacts_root()` by default).

        A broken artifact is left out, with its reason: it does not stop the others. What is in
        `keep` with the same manifest, which has the hashes of all files, is not opened again.
        """
        root = root or artifacts_root()
        served: dict[str, ServedModel] = {}
        unavailable: dict[str, str] = {}
        for name in artifact_names(root):
            try:
                artifact = Artifact.open(name, root)
                old = keep.served.get(name) if keep else None
                same = old is not None and old.manifest == artifact.manifest
                served[name] = old if same and old else ServedModel(artifact, threads, calls)
            except ArtifactError as error:
                unavailable[name] = str(error).replace(f"{root}/", "")  # answers tell no paths
        return cls(served, unavailable)

    def get(self, name: str) -> ServedModel:
        """The model called `name`, or its version that `default_version` tells.

        Raises:
            RequestError: unknown, or not loadable.
        """
        name = self._version(name)
        if name in self.served:
            return self.served[name]
        if name in self.unavailable:
            raise RequestError("model-unavailable", f"model {name!r}: {self.unavailable[name]}")
        raise RequestError(
            "unknown-model", f"no model is called {name!r}; {_choices(self.served)}."
        )

    def of_route(self, route: str) -> list[ServedModel]:
        """Models of a route, the one that answers by default first.

        Other versions of a model come last. Of the rest real data comes before synthetic, then what
        its manifest calls default, then the best validation accuracy.
        """
        return [model for model in self._ranked if model.manifest.route == route]

    @cached_property
    def _ranked(self) -> list[ServedModel]:
        # kept: ranking a dozen models anew took 0.15 ms of every request to a route
        def rank(model: ServedModel) -> tuple[bool, bool, bool, float, str]:
            accuracy = model.manifest.metric("accuracy", "validation") or 0.0
            manifest = model.manifest
            other = model.name != self._version(manifest.name)
            return other, manifest.synthetic, not manifest.default, -accuracy, model.name

        return sorted(self.served.values(), key=rank)

    def choose(self, route: str, name: str | None) -> ServedModel:
        """The model that answers a request to a route.

        Raises:
            RequestError: none serves the route, or `name` is not one of its models.
        """
        models = {m.name: m for m in self.of_route(route)}
        if not models:
            broken = f" ({len(self.unavailable)} could not be loaded)" if self.unavailable else ""
            raise RequestError(
                "no-model-for-route",
                f"no model here serves {route!r}; /v1/models lists those that are here{broken}.",
            )
        if name is None:
            return next(iter(models.values()))
        found = models.get(self._version(name))
        if found is None:
            raise RequestError(
                "unknown-model", f"no model of {route!r} is called {name!r}; {_choices(models)}."
            )
        return found

    def _version(self, name: str) -> str:
        return default_version(name, (*self.served, *self.unavailable))

    def list(self) -> ModelList:
        """All models, and what could not be loaded."""
        leaders = {route: self.of_route(route) for route in (*ROUTES, "faces")}
        return ModelList(
            models=tuple(model.info for model in self.served.values()),
            unavailable=tuple(
                UnavailableModel(name=name, reason=reason)
                for name, reason in self.unavailable.items()
            ),
            defaults={route: models[0].stamp.name for route, models in leaders.items() if models},
        )


def _choices(models: dict[str, ServedModel]) -> str:
    return "there are: " + (", ".join(models) or "none")
