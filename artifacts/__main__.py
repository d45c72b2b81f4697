"""`python -m artifacts`: list, show, verify and import models."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts import graph
from artifacts.artifact import MODEL_FILE, Artifact, artifact_names, artifacts_root
from artifacts.commands import json_option, print_json, run_command
from artifacts.errors import ArtifactError
from artifacts.manifest import Manifest
from artifacts.provenance import code_version
from artifacts.runtime import Runtime, ort_errors


@click.group()
def main() -> None:
    """Models on disk: list them, show one, verify them, import a foreign one."""


@main.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the artifacts."""
    manifests = [Manifest.read(artifacts_root() / n / "manifest.json") for n in artifact_names()]
    if as_json:
        print_json([m.model_dump(mode="json") for m in manifests])
        return
    figures = [
        Column(name, no_wrap=True, justify="right") for name in ("weights", "validation", "test")
    ]
    table = Table(Column("name", no_wrap=True), "route", "data", *figures, box=box.SIMPLE)
    for m in manifests:
        data = "" if m.dataset is None else m.dataset.name + (" (synthetic)" * m.synthetic)
        scores = [m.metric("accuracy", split) for split in ("validation", "test")]
        table.add_row(
            m.name,
            m.route or m.task,
            data,
            f"{m.parameters.total:,}" if m.parameters else "",
            *("" if score is None else f"{score:.4f}" for score in scores),
        )
    Console().print(table if manifests else f"no artifacts under {artifacts_root()}")


@main.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the manifest of artifact NAME."""
    artifact = Artifact.open(name)
    content = artifact.manifest.model_dump(mode="json")
    if as_json:
        print_json(content)
        return
    Console().print(f"{artifact.path}", highlight=False)
    Console().print_json(data=content)


@main.command()
@click.argument("name", required=False)
@json_option
def verify(name: str | None, as_json: bool) -> None:
    """Verify artifact NAME, or all; non-zero exit if one fails."""
    if name is not None:
        names = [name]
    else:
        names = sorted({path.name for path in artifacts_root().glob("[!.]*/")})
    results: dict[str, str] = {}
    for each in names:
        try:
            Artifact.open(each)
            results[each] = "ok"
        except ArtifactError as error:
            results[each] = str(error)
    if as_json:
        print_json(results)
    elif not results:
        click.echo(f"no artifacts under {artifacts_root()}")
    else:
        for each, result in results.items():
            click.echo(f"{each}: {result}", err=result != "ok")
    if any(result != "ok" for result in results.values()):
        raise click.exceptions.Exit(1)


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--task", type=click.Choice(list(graph.OUTPUTS)), required=True)
@click.option("--classes", help="File with one class name a line, or names split by commas.")
@click.option("--name", help="Name of the artifact; the file's name by default.")
@click.option("--route", help="Also serve it under this route, such as cars.")
@click.option("--mean", default="0.5,0.5,0.5", show_default=True, help="R,G,B of 0..1 pictures.")
@click.option("--std", default="0.5,0.5,0.5", show_default=True, help="R,G,B of 0..1 pictures.")
@click.option("--native", help="LOW,HIGH: sides in pixels shown unscaled, for any-size graphs.")
@json_option
def import_command(
    file: Path,
    task: str,
    classes: str | None,
    name: str | None,
    route: str | None,
    mean: str,
    std: str,
    native: str | None,
    as_json: bool,
) -> None:
    """Make an artifact of a foreign ONNX FILE, so that it can be served and looked into.

    The graph takes uint8 N x H x W x 3, or float N x 3 x H x W; the second gets normalisation
    with --mean and --std put in front. Its first output becomes logits or embedding.
    """
    model = graph.adapt(graph.load_graph(file), task, _numbers(mean, 3), _numbers(std, 3))
    dims = next(i for i in model.graph.input if i.name == graph.INPUT).type.tensor_type.shape.dim
    size = (dims[1].dim_value, dims[2].dim_value)
    manifest = Manifest.build(
        name=name or file.stem.lower(),
        task=task,
        route=route,
        classes=_read_classes(classes),
        input={
            "fixed_size": size if all(size) else None,
            "native_side": _numbers(native, 2) if native else None,
        },
        code_version=code_version(),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    content = model.SerializeToString()
    _check_answer(Runtime(content, manifest.input), manifest)
    artifact = Artifact.save(manifest, {MODEL_FILE: content})
    if as_json:
        print_json(artifact.manifest.model_dump(mode="json"))
    else:
        click.echo(f"imported as {manifest.name}: {artifact.path}")


def _check_answer(runtime: Runtime, manifest: Manifest) -> None:
    """Ask for one answer, so that a model which cannot give it is refused before it is stored."""
    picture = np.zeros((64, 64, 3), np.uint8)
    try:
        answer = runtime.run([picture])[graph.OUTPUTS[manifest.task]]
    except ort_errors as error:
        raise ArtifactError(f"the model fails on a picture of 64x64: {error}") from None
    if answer.ndim != 2:  # noqa: PLR2004
        raise ArtifactError(f"the output has shape {answer.shape}; N x C or N x D is expected.")
    if not np.isfinite(answer).all():
        raise ArtifactError("the model answers with NaN or infinity.")
    if manifest.task == "classification" and answer.shape[1] != len(manifest.classes):
        raise ArtifactError(
            f"the model gives {answer.shape[1]} logits, --classes names {len(manifest.classes)}; "
            "give one name for each."
        )


def _read_classes(given: str | None) -> list[str]:
    if given is None:
        return []
    if os.path.isfile(given):  # noqa: PTH113  a long list of names is no valid path
        return Path(given).read_text(encoding="utf-8").splitlines()
    return [name.strip() for name in given.split(",")]


def _numbers(text: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise click.BadParameter(f"{text!r}: {count} numbers split by commas are expected.")
    return numbers


if __name__ == "__main__":
    run_command(main, "python -m artifacts")
