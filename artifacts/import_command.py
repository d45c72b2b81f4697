"""`vitrine import`: makes an artifact of an ONNX file from elsewhere."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np

from artifacts import graph
from artifacts.artifact import MODEL_FILE, Artifact
from artifacts.commands import json_option, print_json
from artifacts.distribution import artifacts_root
from artifacts.errors import ArtifactError
from artifacts.manifest import NAME_PATTERN, Manifest, check_route
from artifacts.proof import prove
from artifacts.provenance import code_version
from artifacts.runtime import Runtime
from artifacts.sessions import ort_errors
from artifacts.verification.decision import METRICS


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--task", type=click.Choice(list(graph.OUTPUTS)), required=True)
@click.option(
    "--classes", help="Class names separated by commas, or a file with one class name per line."
)
@click.option("--name", help="Name of the artifact; by default the name of the file.")
@click.option(
    "--route",
    help="Also serve the model for this purpose, at /v1/ROUTE/classify: 1 to 40 of a-z, 0-9 and "
    "'-'. Embeddings of faces have the route faces.",
)
@click.option(
    "--mean",
    default="0.5,0.5,0.5",
    show_default=True,
    help="Mean of R,G,B that a float graph expects, of pixel values scaled to 0..1.",
)
@click.option(
    "--std",
    default="0.5,0.5,0.5",
    show_default=True,
    help="Standard deviation of R,G,B that a float graph expects, of values scaled to 0..1.",
)
@click.option(
    "--native",
    default="8,512",
    show_default=True,
    help="LOW,HIGH in pixels, for graphs that take any size: a picture keeps its size if the "
    "square with its area has a side in this range; others are rescaled into the range.",
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default=METRICS[0],
    show_default=True,
    help="Distance between embeddings; not used for classifiers.",
)
@click.option("--force", is_flag=True, help="Replace an artifact of the same name.")
@json_option
def import_command(
    file: Path,
    task: str,
    classes: str | None,
    name: str | None,
    route: str | None,
    mean: str,
    std: str,
    native: str,
    metric: str,
    force: bool,
    as_json: bool,
) -> None:
    """Make an artifact from a foreign ONNX FILE, so that it can be served and analysed.

    The graph must take uint8 N x H x W x 3, or float N x 3 x H x W. In the second case,
    normalisation with --mean and --std is inserted in front of it. The first output of the graph
    becomes the logits or the embedding.
    """
    name = _free_name(name or file.stem.lower(), force=force)
    try:
        check_route(route, "embedding" if task == "embedding" else "classification")
    except ValueError as error:
        raise click.UsageError(f"--route {route!r}: {error}.") from None
    names = _read_classes(classes)
    if task == "classification" and not names:
        raise click.UsageError("a classifier needs class names; give them with --classes.")
    model = graph.adapt(graph.load_graph(file), task, _numbers(mean, 3), _numbers(std, 3))
    dims = next(i for i in model.graph.input if i.name == graph.INPUT).type.tensor_type.shape.dim
    size = (dims[1].dim_value, dims[2].dim_value)
    manifest = Manifest.build(
        name=name,
        task=task,
        route=route,
        classes=names,
        verification={"metric": metric} if task == "embedding" else None,
        input={
            "fixed_size": size if all(size) else None,
            "native_side": None if all(size) else _numbers(native, 2),
        },
        code_version=code_version(),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    content = model.SerializeToString()
    prove(content, manifest.input)
    _check_output(Runtime(content, manifest.input), manifest)
    artifact = Artifact.save(manifest, {MODEL_FILE: content})
    if as_json:
        print_json(artifact.manifest.model_dump(mode="json"))
    else:
        click.echo(f"imported as {manifest.name}: {artifact.path}")


def _free_name(name: str, *, force: bool) -> str:
    """Return the name if it is valid and no artifact has it, or if `force` allows replacing one."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise click.UsageError(
            f"{name!r} is not a valid name; give one with --name: up to 64 of a-z, 0-9, '.', '_' "
            "and '-', the first a letter or a digit."
        )
    if (artifacts_root() / name).exists() and not force:
        raise ArtifactError(
            f"{name} exists already; choose another name with --name, or replace it with --force."
        )
    return name


def _check_output(runtime: Runtime, manifest: Manifest) -> None:
    """Run the model once, so that one that does not work is refused before it is stored."""
    picture = np.zeros((64, 64, 3), np.uint8)
    try:
        output = runtime.run([picture])[graph.OUTPUTS[manifest.task]]
    except ort_errors as error:
        raise ArtifactError(f"the model fails on a picture of 64x64: {error}") from None
    if output.ndim != 2:  # noqa: PLR2004
        raise ArtifactError(f"the output has shape {output.shape}; N x C or N x D is expected.")
    if not np.isfinite(output).all():
        raise ArtifactError("the output of the model for a black picture contains NaN or infinity.")
    if manifest.task == "classification" and output.shape[1] != len(manifest.classes):
        raise ArtifactError(
            f"the model gives {output.shape[1]} logits, but --classes has "
            f"{len(manifest.classes)} names; give one name for each logit."
        )


def _read_classes(given: str | None) -> list[str]:
    if given is None:
        return []
    if os.path.isfile(given):  # noqa: PTH113  Path.is_file raises for a long list of names
        try:
            lines = Path(given).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(
                f"{given}: not readable as UTF-8 text ({error}); write one class name per line."
            ) from None
        return [line.strip() for line in lines if line.strip()]
    return [name.strip() for name in given.split(",")]


def _numbers(text: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise click.BadParameter(f"{text!r}: expected {count} numbers separated by commas.")
    return numbers
