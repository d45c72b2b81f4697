"""Artifacts on disk: one folder per model, written atomically and verified when it is opened."""

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from artifacts.card import CARD_FILE, write_card
from artifacts.devices import PROVIDERS, current
from artifacts.distribution import artifacts_root, check_writable, locked
from artifacts.errors import ArtifactError
from artifacts.graph import check_graph
from artifacts.manifest import Manifest
from artifacts.names import MANIFEST_FILE, artifact_names, default_version
from artifacts.provenance import has_gpu, has_integer_arithmetic

MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
"""The network in 8-bit integers; exists only if it is served. See `artifacts.quantize`."""
FLOAT16_FILE = "model.float16.onnx"
"""The network in float16, for GPUs; exists only if it is served. See `artifacts.float16`."""
PRECISIONS: dict[str, Literal["float32", "int8", "float16"]] = {
    MODEL_FILE: "float32",
    INT8_FILE: "int8",
    FLOAT16_FILE: "float16",
}
"""Numeric format of each graph."""
VERSION_PATTERN = r"[a-z0-9][a-z0-9._-]{0,31}"
"""The version after the `@` in a folder's name, if several versions of a model are kept."""
STAGING = ".writing-"
"""Prefix of the temporary folder in which an artifact is written."""
REPLACED = ".replaced"
"""Name, within the temporary folder, of the old artifact while it is being replaced."""
ABANDONED = 3600.0
"""Age in seconds from which a temporary folder counts as abandoned; writing takes a few seconds."""


@dataclass(frozen=True)
class Artifact:
    """A verified model folder: the graph, the manifest, and the files that belong to them."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Name of the folder: the name in the manifest, or `NAME@VERSION`."""
        return self.path.name

    @property
    def model_file(self) -> str:
        """Name of the ONNX graph that is served.

        That is int8 on a CPU and float16 on a GPU, if the manifest and the hardware allow it.
        """
        quantization, float16 = self.manifest.quantization, self.manifest.float16
        # Where no GPU is visible, ONNX Runtime need not be loaded to know what is used.
        if has_gpu() and (device := current()).on_gpu:
            provider = PROVIDERS[device.used]
            fits = float16 is not None and float16.served_on(provider)
            return FLOAT16_FILE if fits else MODEL_FILE
        served = quantization is not None and quantization.served
        return INT8_FILE if served and has_integer_arithmetic() else MODEL_FILE

    @property
    def precision(self) -> Literal["float32", "int8", "float16"]:
        """Numeric format of the graph that is served."""
        return PRECISIONS[self.model_file]

    @property
    def model_path(self) -> Path:
        """Path of the ONNX graph that is served."""
        return self.path / self.model_file

    @property
    def hash(self) -> str:
        """sha256 of the graph that is served; answers carry it to identify the model."""
        return self.manifest.files[self.model_file]

    @classmethod
    def open(cls, name: str, root: Path | None = None) -> Self:
        """Open and verify the artifact called `name`, or the version that `default_version` picks.

        Raises:
            ArtifactError: the name is unknown, or `verify` fails.
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
        """Check the name, the file hashes and the graph against the manifest.

        Raises:
            ArtifactError: something does not match; the message names the file.
        """
        expected_name = re.escape(self.manifest.name)
        if not re.fullmatch(f"{expected_name}(@{VERSION_PATTERN})?", self.name):
            raise ArtifactError(
                f"{self.path}: the manifest names {self.manifest.name!r}; the folder must have "
                "this name, or this name, '@' and a version of a-z, 0-9, '.', '_' and '-'."
            )
        graphs = {MODEL_FILE, self.model_file}
        for name in sorted(graphs - self.manifest.files.keys()):
            raise ArtifactError(f"{self.path}: the manifest lists no {name}.")
        for name, expected in self.manifest.files.items():
            _check_hash(self.path / name, _sha256(self.path / name), expected)
        for name in sorted(graphs):
            check_graph(self.path / name, self.manifest)

    def read(self, name: str) -> bytes:
        """Return the content of a file that the manifest lists.

        Raises:
            ArtifactError: the file was removed or changed after the artifact was opened.
        """
        file = self.path / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from None
        _check_hash(file, hashlib.sha256(content).hexdigest(), self.manifest.files[name])
        return content

    def read_graph(self) -> bytes:
        """Return the ONNX graph that is served, exactly as it was verified.

        Raises:
            ArtifactError: its file was changed or removed since. The message contains no path,
                because it may be shown to clients.
        """
        try:
            return self.read(self.model_file)
        except ArtifactError:
            raise ArtifactError(
                f"{self.model_file} of {self.name} was changed or removed after the model was "
                "loaded; load it again."
            ) from None

    def contents(self) -> dict[str, bytes]:
        """Return the content of every file except the manifest, by name, as `rewrite` takes it.

        Raises:
            ArtifactError: see `read`.
        """
        return {name: self.read(name) for name in self.manifest.files}

    def rewrite(self, manifest: Manifest, files: Mapping[str, bytes]) -> Self:
        """Replace the artifact in its folder, which may be the folder of a version; see `save`.

        If another program has rewritten the artifact since it was opened, both changes are kept.

        Args:
            manifest: new manifest, with the same name.
            files: content of all files by name; `contents` returns the existing ones.

        Raises:
            ArtifactError: see `save`; or the other program changed the graph, or a field or file
                that is changed here, too.
        """
        root = self.path.parent
        check_writable(root)
        with locked(root):
            return self._write(*self._merged(manifest, files), root, self.name)

    def _merged(
        self, manifest: Manifest, files: Mapping[str, bytes]
    ) -> tuple[Manifest, Mapping[str, bytes]]:
        """Add to a change of this artifact what others have changed in it since it was opened."""
        if not (self.path / MANIFEST_FILE).exists():
            return manifest, files
        now = Artifact(self.path, Manifest.read(self.path / MANIFEST_FILE))
        if now.manifest == self.manifest:
            return manifest, files
        fields = _differences(self.manifest, manifest)
        before = self.manifest.files
        changed = {
            name: data
            for name, data in files.items()
            if name != CARD_FILE and hashlib.sha256(data).hexdigest() != before.get(name)
        }
        removed = before.keys() - files.keys() - {CARD_FILE}
        twice = sorted(fields & _differences(self.manifest, now.manifest))
        others = {
            n for n in {*before, *now.manifest.files} if now.manifest.files.get(n) != before.get(n)
        }
        twice += sorted(others & {*changed, *removed})
        if others and MODEL_FILE in {*others, *changed}:
            twice.append(MODEL_FILE)
        if twice:
            raise ArtifactError(
                f"{self.path}: another program has changed {', '.join(dict.fromkeys(twice))} since "
                "this one read it; nothing was written. Run this command again."
            )
        kept = {name: data for name, data in now.contents().items() if name not in removed}
        update = {name: getattr(manifest, name) for name in fields}
        return now.manifest.model_copy(update=update), {**kept, **changed}

    @classmethod
    def save(
        cls,
        manifest: Manifest,
        files: Mapping[str, bytes],
        root: Path | None = None,
        name: str | None = None,
    ) -> Self:
        """Write an artifact, verify what was written, and replace an artifact of the same name.

        Args:
            manifest: its `files` and `digest` are filled in here.
            files: content by plain file name, including `model.onnx`. The card is always written
                anew from the manifest.
            root: parent of the artifact's folder; `artifacts_root()` by default.
            name: name of the folder; the name in the manifest by default.

        Raises:
            ArtifactError: the graph violates the contract, or the folder belongs to an installed
                package. Nothing is left on disk in that case.
        """
        root = root or artifacts_root()
        check_writable(root)
        root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            return cls._write(manifest, files, root, name or manifest.name)

    @classmethod
    def _write(cls, manifest: Manifest, files: Mapping[str, bytes], root: Path, name: str) -> Self:
        """Do what `save` does, in a folder that is locked."""
        remove_abandoned(root, MANIFEST_FILE)
        files = {**files, CARD_FILE: write_card(manifest).encode()}
        hashes = {file: hashlib.sha256(data).hexdigest() for file, data in sorted(files.items())}
        manifest = manifest.model_copy(update={"files": hashes}).sealed()
        # a random name rather than the process id, which two containers may share
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=root)) / name
        try:
            staging.mkdir()
            for file, data in files.items():
                (staging / file).write_bytes(data)
            (staging / MANIFEST_FILE).write_bytes(manifest.canonical())
            cls(staging, manifest).verify()
            replace_folder(staging, root / name)
        finally:
            shutil.rmtree(staging.parent, ignore_errors=True)
        return cls(root / name, manifest)


def _differences(one: Manifest, other: Manifest) -> set[str]:
    """Return the names of the fields that differ, except those that `save` fills in."""
    names = type(one).model_fields.keys() - {"files", "digest"}
    return {name for name in names if getattr(one, name) != getattr(other, name)}


def remove_abandoned(root: Path, manifest_file: str) -> None:
    """Remove temporary folders of interrupted writers, and complete their last step if possible."""
    for staging in root.glob(f"{STAGING}*"):
        try:
            age = time.time() - staging.stat().st_mtime
        except FileNotFoundError:  # its writer has just finished
            continue
        if age < ABANDONED:
            continue
        if (staging / REPLACED).exists():  # the new artifact has been verified before this step
            for new in staging.glob(f"[!.]*/{manifest_file}"):
                if not (root / new.parent.name).exists():
                    new.parent.rename(root / new.parent.name)
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(new: Path, target: Path) -> None:
    """Move `new` to `target`; an artifact that is there is restored if this fails."""
    if not target.exists():
        new.rename(target)
        return
    old = new.parent / REPLACED
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
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
