"""Brings artifacts from a store into a folder: whole and verified, or not at all.

What a store holds is not trusted. Names in its manifests cannot lead out of the folder, sizes are
bounded whatever the store says, and files of other kinds than artifacts have are refused.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from artifacts.artifact import (
    STAGING,
    VERSION_PATTERN,
    Artifact,
    remove_abandoned,
    replace_folder,
)
from artifacts.distribution import check_writable, locked
from artifacts.errors import ArtifactError
from artifacts.manifest import NAME_PATTERN, Manifest
from artifacts.names import MANIFEST_FILE
from artifacts.stores.cache import fetch
from artifacts.stores.location import Location, StoreError

MANIFEST_BYTES = 4 << 20
FILE_BYTES = 2 << 30
"""An ONNX file must be smaller."""
MAX_FILES = 64
FILE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(onnx|json|md|csv|png|jpg|npz|yaml)"
"""Names of the files of an artifact: in its folder, and of kinds that run no code when read."""
FOLDER_PATTERN = NAME_PATTERN.removesuffix("$") + rf"(@{VERSION_PATTERN})?$"
TRANSFERS = 4
"""Files that are transferred at the same time."""


@dataclass(frozen=True)
class Pulled:
    """An artifact that was pulled."""

    artifact: Artifact
    transferred: int
    """Bytes, without the manifest; 0 if all files were here already."""


def stored_names(store: Location) -> list[str]:
    """Return the names of the artifacts that a store holds; empty if it holds none.

    A store is a folder of artifacts, or itself the folder of one.

    Raises:
        StoreError: it cannot be reached.
    """
    if (store / MANIFEST_FILE).exists():
        return [_read_manifest(store).name]
    folders = [name for name, folder in store.entries().items() if folder]
    names = [name for name in folders if re.match(FOLDER_PATTERN, name)]
    # a listing that fails raises, so that no artifact is taken for one that was removed
    return [name for name in names if MANIFEST_FILE in (store / name).entries()]


def pull(store: Location, names: Sequence[str], root: Path) -> list[Pulled]:
    """Bring artifacts into a folder, in place of those of the same names.

    Args:
        store: where they are; see `stored_names`.
        names: which of them, `NAME` or `NAME@VERSION`; all if it is empty.
        root: the folder of the artifacts.

    Raises:
        StoreError: the store cannot be reached, or has no such artifact.
        ArtifactError: an artifact is not valid, or the folder is not written to. Those that were
            pulled before it stay.
    """
    check_writable(root)
    if wrong := [name for name in names if not re.match(FOLDER_PATTERN, name)]:
        raise StoreError(f"{wrong[0]!r} is no name of an artifact; NAME or NAME@VERSION is.")
    chosen = list(dict.fromkeys(names)) or stored_names(store)
    if not chosen:
        raise StoreError(
            f"{store.shown}: holds no artifact: no {MANIFEST_FILE}, and no folders with one."
        )
    return [pull_one(store, name, root) for name in chosen]


def pull_one(store: Location, name: str, root: Path) -> Pulled:
    """Bring one artifact into a folder; see `pull`."""
    source = store if (store / MANIFEST_FILE).exists() else store / name
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        remove_abandoned(root, MANIFEST_FILE)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=root)) / name
        try:
            staging.mkdir()
            manifest = _read_manifest(source, staging / MANIFEST_FILE)
            with ThreadPoolExecutor(TRANSFERS) as pool:
                sizes = pool.map(
                    lambda file: fetch(source / file[0], file[1], staging / file[0], FILE_BYTES),
                    manifest.files.items(),
                )
                transferred = sum(sizes)
            Artifact(staging, manifest).verify()
            replace_folder(staging, root / name)
        except ArtifactError as error:
            raise ArtifactError(str(error).replace(str(staging), source.shown)) from None
        finally:
            shutil.rmtree(staging.parent, ignore_errors=True)
    return Pulled(Artifact(root / name, manifest), transferred)


def _read_manifest(source: Location, target: Path | None = None) -> Manifest:
    """Read and check the manifest of an artifact in a store, and keep its bytes at `target`.

    Raises:
        StoreError: it cannot be reached.
        ArtifactError: it is not valid, or names files that no artifact has.
    """
    file = source / MANIFEST_FILE
    content = file.read(MANIFEST_BYTES)
    if target is not None:
        target.write_bytes(content)
    manifest = Manifest.parse(content, file.shown)
    if len(manifest.files) > MAX_FILES:
        raise ArtifactError(f"{file.shown}: lists more than {MAX_FILES} files.")
    for name in manifest.files:
        if name == MANIFEST_FILE or not re.fullmatch(FILE_PATTERN, name):
            raise ArtifactError(
                f"{file.shown}: lists the file {name!r}; the files of an artifact lie in its "
                "folder, and are .onnx, .json, .md, .csv, .png, .jpg, .npz or .yaml."
            )
    return manifest
