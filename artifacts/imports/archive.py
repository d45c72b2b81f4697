"""Opens the archives of TorchServe (.mar), which are zip files with a network and its handler."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile, ZipFile

from artifacts.errors import ArtifactError
from artifacts.imports.loading import check_size
from artifacts.imports.settings import Settings

MANIFEST = "MAR-INF/MANIFEST.json"
"""The file of an archive that names the network and the handler."""
NAMES = "index_to_name.json"
"""The file of an archive with the names of the classes by number."""
LOCAL_FILE = b"PK\x03\x04"
"""First bytes of a zip file."""
IMAGE_CLASSIFIER = Settings(
    resize="crop",
    size=(224, 224),
    resize_to=256,
    interpolation="bilinear",
    scale="0..1",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""What TorchServe's handler `image_classifier` does before the network."""


@contextmanager
def onnx_file(path: Path) -> Iterator[Path]:
    """Yield the path of an ONNX file: `path` itself, or that of the network in an archive.

    An archive is unpacked into a temporary folder; nothing in it is run.

    Raises:
        ArtifactError: the archive is damaged or too large, or its network is not in ONNX.
    """
    with path.open("rb") as stream:
        if stream.read(len(LOCAL_FILE)) != LOCAL_FILE:
            yield path
            return
    with TemporaryDirectory(prefix="vitrine-import-") as folder:
        try:
            with ZipFile(path) as archive:
                check_size(path, sum(entry.file_size for entry in archive.infolist()))
                archive.extractall(folder)  # takes no file out of the folder
        except (BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise ArtifactError(f"{path}: the archive cannot be unpacked ({error}).") from None
        yield Path(folder, _network(path, Path(folder, MANIFEST)))


def described(manifest: Path) -> tuple[str, Settings, tuple[str, ...]]:
    """Return the handler of an unpacked archive, how it prepares pictures, and the classes.

    Only `image_classifier`, which comes with TorchServe, says in its name how it prepares pictures
    (`ts/torch_handler/image_classifier.py`). Others are programs, which are not read.

    Args:
        manifest: path of `MANIFEST`.
    """
    handler = str(_model(manifest).get("handler"))
    known = handler.removesuffix(".py") == "image_classifier"
    names = manifest.parent.parent / NAMES
    classes = _index_to_name(names) if names.is_file() else ()
    return handler, IMAGE_CLASSIFIER if known else Settings(), classes


def _model(manifest: Path) -> dict[str, Any]:
    """Return what the manifest of an archive says about the network."""
    try:
        model = json.loads(manifest.read_text(encoding="utf-8"))["model"]
        if not isinstance(model, dict):
            raise TypeError("`model` is not an object")  # noqa: TRY301
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(
            f"{MANIFEST} of the archive is missing or damaged ({error!r}); an ONNX file, or an "
            "archive of TorchServe with one, is expected."
        ) from None
    return model


def _network(path: Path, manifest: Path) -> str:
    """Return the name of the network in an archive."""
    name = str(_model(manifest).get("serializedFile") or "")
    inside = {entry.name for entry in manifest.parent.parent.iterdir() if entry.is_file()}
    if name not in inside or not name.endswith(".onnx"):
        raise ArtifactError(
            f"{path}: the network of the archive is {name or 'code only'!r}, not an ONNX file; "
            "export it with torch.onnx.export, and import that file."
        )
    return name


def _index_to_name(path: Path) -> tuple[str, ...]:
    """Return names by number, each a text, or a list of which the last one is the name.

    A file that is not understood counts as none, so that the names have to be given.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content.get("object_type_names")
        if not isinstance(names, list):
            names = [content[str(number)] for number in range(len(content))]
        return tuple(str(name[-1] if isinstance(name, list) else name) for name in names)
    except (OSError, ValueError, AttributeError, KeyError, IndexError, RecursionError):
        return ()
