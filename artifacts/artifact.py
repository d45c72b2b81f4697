"""Artifacts on disk: a folder per model, written whole or not at all, verified when opened."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from artifacts.card import CARD_FILE, write_card
from artifacts.errors import ArtifactError
from artifacts.graph import check_graph
from artifacts.manifest import Manifest
from artifacts.provenance import has_gpu, has_integer_arithmetic

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
"""The same network in 8-bit integers, where that is what is served; see `artifacts.quantize`."""
VERSION_PATTERN = r"[a-z0-9][a-z0-9._-]{0,31}"
"""What follows `@` in the folder's name where several versions of a model are kept."""
STAGING = ".writing-"
REPLACED = ".replaced"
ABANDONED = 3600.0
"""Seconds after which what is being written is taken for left behind; writing takes some."""


def artifacts_root() -> Path:
    """Folder that holds the artifacts: `VITRINE_ARTIFACTS`, else `models/` beside this code."""
    return Path(os.environ.get("VITRINE_ARTIFACTS") or Path(__file__).parent / "models")


def artifact_names(root: Path | None = None) -> list[str]:
    """Names of the artifacts under `root`, sorted; an empty list where the folder is missing."""
    root = root or artifacts_root()
    return sorted(path.parent.name for path in root.glob(f"[!.]*/{MANIFEST_FILE}"))


def default_version(name: str, names: Iterable[str]) -> str:
    """Which of `names` is meant by `name`: itself, else its last version; itself if none is there.

    Versions are ordered by their text, numbers in it by value: NAME@9 comes before NAME@10.
    """

    def order(version: str) -> list[str | int]:
        parts = re.split(r"(\d+)", version)  # every second is a number
        return [int(part) if part.isdecimal() else part for part in parts]

    known = set(names)
    versions = [other for other in known if other.startswith(f"{name}@")]
    return name if name in known else max(versions, key=order, default=name)


@dataclass(frozen=True)
class Artifact:
    """A verified model folder: graph, manifest, and the files that go with them."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Of its folder: the manifest's, or that with a version, `NAME@VERSION`."""
        return self.path.name

    @property
    def model_file(self) -> str:
        """Name of the ONNX graph that is served: in integers where they pay, on this processor."""
        quantization = self.manifest.quantization
        pays = quantization is not None and quantization.served
        return INT8_FILE if pays and has_integer_arithmetic() and not has_gpu() else MODEL_FILE

    @property
    def model_path(self) -> Path:
        """The ONNX graph that is served."""
        return self.path / self.model_file

    @property
    def hash(self) -> str:
        """sha256 of the graph that is served: what answers are signed with."""
        return self.manifest.files[self.model_file]

    @classmethod
    def open(cls, name: str, root: Path | None = None) -> Self:
        """Open and verify the artifact called `name`, or its version that `default_version` tells.

        Raises:
            ArtifactError: unknown name, or anything that `verify` refuses.
        """
        root = root or artifacts_root()
        path = root / default_version(name, artifact_names(root))
        if not path.is_dir():
            known = ", ".join(artifact_names(root)) or "none"
            raise ArtifactError(f"no artifact called {name!r} under {root}; there are: {known}.")
        artifact = cls(path, Manifest.read(path / MANIFEST_FILE))
        artifact.verify()
        return artifact

    def verify(self) -> None:
        """Check name, file hashes and graph against the manifest.

        Raises:
            ArtifactError: on the first thing that does not match, naming the file.
        """
        expected_name = re.escape(self.manifest.name)
        if not re.fullmatch(f"{expected_name}(@{VERSION_PATTERN})?", self.name):
            raise ArtifactError(
                f"{self.path}: the manifest names {self.manifest.name!r}; the folder must be "
                "called the same, or that with '@' and a version of a-z, 0-9, '.', '_' and '-'."
            )
        graphs = {MODEL_FILE, self.model_file}
        for name in sorted(graphs - self.manifest.files.keys()):
            raise ArtifactError(f"{self.path}: the manifest lists no {name}.")
        for name, expected in self.manifest.files.items():
            _check_hash(self.path / name, _sha256(self.path / name), expected)
        for name in sorted(graphs):
            check_graph(self.path / name, self.manifest)

    def read(self, name: str) -> bytes:
        """Content of a file that the manifest lists.

        Raises:
            ArtifactError: it was replaced or changed after the artifact was opened.
        """
        file = self.path / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from None
        _check_hash(file, hashlib.sha256(content).hexdigest(), self.manifest.files[name])
        return content

    def read_graph(self) -> bytes:
        """The ONNX graph that is served: the bytes that were verified.

        Raises:
            ArtifactError: its file was changed or removed since; the reason names no path, because
                clients may read it.
        """
        try:
            return self.read(self.model_file)
        except ArtifactError:
            raise ArtifactError(
                f"{self.model_file} of {self.name} was changed or removed after the model was "
                "loaded; load it again."
            ) from None

    def contents(self) -> dict[str, bytes]:
        """Every file but the manifest, by name: what `rewrite` takes; raises as `read`."""
        return {name: self.read(name) for name in self.manifest.files}

    def rewrite(self, manifest: Manifest, files: Mapping[str, bytes]) -> Self:
        """Write the artifact anew in its folder, also in that of a version; see `save`.

        Args:
            manifest: of the same name.
            files: all of them; `contents` gives those that are there.
        """
        return self.save(manifest, files, self.path.parent, self.name)

    @classmethod
    def save(
        cls,
        manifest: Manifest,
        files: Mapping[str, bytes],
        root: Path | None = None,
        name: str | None = None,
    ) -> Self:
        """Write an artifact, replacing one of the same name, and verify what was written.

        Args:
            manifest: `files` and `digest` are filled in here.
            files: content by plain file name; `model.onnx` among them. The card is written here,
                so that it says what the manifest does.
            root: where the artifact's folder goes; `artifacts_root()` by default.
            name: of the folder, where it is that of a version.

        Raises:
            ArtifactError: the graph breaks the contract. Nothing is left behind then.
        """
        root = root or artifacts_root()
        name = name or manifest.name
        root.mkdir(parents=True, exist_ok=True)
        _clear_up(root)
        files = {**files, CARD_FILE: write_card(manifest).encode()}
        hashes = {file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())}
        manifest = manifest.model_copy(update={"files": hashes}).sealed()
        # of its own for each writer: processes of two containers may have one number
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=root)) / name
        try:
            staging.mkdir()
            for file, data in files.items():
                (staging / file).write_bytes(data)
            (staging / MANIFEST_FILE).write_bytes(manifest.canonical())
            cls(staging, manifest).verify()
            _exchange(staging, root / name)
        finally:
            shutil.rmtree(staging.parent, ignore_errors=True)
        return cls(root / name, manifest)


def _clear_up(root: Path) -> None:
    """Remove what a process left behind that ended while it wrote, and finish its exchange."""
    for staging in root.glob(f"{STAGING}*"):
        try:
            age = time.time() - staging.stat().st_mtime
        except FileNotFoundError:  # its writer is done
            continue
        if age < ABANDONED:
            continue
        if (staging / REPLACED).exists():  # the new one was verified before
            for new in staging.glob(f"[!.]*/{MANIFEST_FILE}"):
                if not (root / new.parent.name).exists():
                    new.parent.rename(root / new.parent.name)
        shutil.rmtree(staging, ignore_errors=True)


def _exchange(new: Path, place: Path) -> None:
    """Put `new` in `place`; what stood there is put back if that fails."""
    if not place.exists():
        new.rename(place)
        return
    old = new.parent / REPLACED
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _check_hash(file: Path, actual: str, expected: str) -> None:
    if actual != expected:
        raise ArtifactError(
            f"{file}: sha256 {actual[:12]}… does not match the manifest's {expected[:12]}…; "
            "restore the file or train again."
        )


def _unreadable(file: Path, error: OSError) -> ArtifactError:
    reason = "missing" if isinstance(error, FileNotFoundError) else f"not readable ({error})"
    return ArtifactError(f"{file}: listed in the manifest, but {reason}.")
