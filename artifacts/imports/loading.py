"""Reads foreign ONNX files, with the weights that lie in files beside them."""

from pathlib import Path

import onnx
from onnx import TensorProto, version_converter

from artifacts.errors import ArtifactError
from artifacts.graph import all_tensors, parse
from artifacts.sessions import OnnxSession

OPSETS = (9, 23)
"""Oldest and newest opset that are served as they are."""
MAX_BYTES = 2**31 - 1
"""Size of an ONNX file above which protobuf neither writes nor reads it."""


def load_foreign(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, and take in the weights that it keeps in other files.

    Only regular files in the folder of the model, or below it, are opened.

    Raises:
        ArtifactError: see `artifacts.graph.parse`; or a file of weights is missing, too short or
            outside the folder; or the whole is larger than an ONNX file can be.
    """
    total = path.stat().st_size
    check_size(path, total)
    model = parse(path)
    for tensor in all_tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        values = {entry.key: entry.value for entry in tensor.external_data}
        file = _beside(path, values.get("location", ""))
        offset, length = _part(path, file, values)
        total += length
        check_size(path, total)
        with file.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(length)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = content
    return _supported(model, path)


def _supported(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Convert a model of a very old or a very new opset, if ONNX Runtime does not take it."""
    opset = next((entry.version for entry in model.opset_import if not entry.domain), OPSETS[0])
    if OPSETS[0] <= opset <= OPSETS[1]:
        return model
    try:
        OnnxSession(model.SerializeToString())
    except ArtifactError as refusal:
        try:
            return version_converter.convert_version(model, min(max(opset, 13), OPSETS[1]))
        except Exception:  # noqa: BLE001 - the converter raises almost anything
            raise ArtifactError(
                f"{path}: {refusal} It has opset {opset}; export it with one of {OPSETS[0]} to "
                f"{OPSETS[1]}."
            ) from None
    return model


def check_size(path: Path, size: int) -> None:
    """Check that weights and graph of a model are small enough for an artifact.

    Args:
        path: of the model, for the refusal.
        size: of all of its files, in bytes.

    Raises:
        ArtifactError: they are not.
    """
    if size > MAX_BYTES:
        raise ArtifactError(
            f"{path}: the weights and the graph have more than 2 GB together, which a single "
            "ONNX file cannot hold; export the model with weights of float16, or a smaller one."
        )


def _beside(path: Path, location: str) -> Path:
    """Return the file that a model calls `location`, if it lies in the folder of the model."""
    folder = path.parent
    relative = Path(location)
    parts = relative.parts
    file = folder / relative
    outside = relative.is_absolute() or not parts or ".." in parts or "\\" in location
    below = [folder.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
    if outside or any(place.is_symlink() for place in below):
        raise ArtifactError(
            f"{path}: weights lie in {location!r}; only files in the folder of the model are "
            "opened, and no symbolic links. Put the file beside the model, or export the model "
            "without external data."
        )
    if not file.is_file():
        raise ArtifactError(
            f"{path}: weights lie in {location!r}, but there is no file {file}; put it beside the "
            "model."
        )
    return file


def _part(path: Path, file: Path, values: dict[str, str]) -> tuple[int, int]:
    """Return the offset and the length of a weight in its file, both in bytes."""
    size = file.stat().st_size
    try:
        offset = int(values.get("offset", 0))
        length = int(values.get("length", size - offset))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > size:
        raise ArtifactError(
            f"{path}: {file.name} is too short for the weights in it, or the model says wrongly "
            "where they are; export the model and its weights again."
        )
    return offset, length
