"""One model of a server: an artifact with its runtime."""

import resource
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import onnx

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.known.detector import KNOWN_FILE, Detector
from artifacts.manifest import Manifest
from artifacts.reference import check_fits, read_reference
from serving.inference.runtimes import open_runtime
from serving.problems import RequestError
from serving.schemas import ModelInfo, Stamp


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
            precision=self.artifact.precision,
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
            float16=manifest.float16,
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
