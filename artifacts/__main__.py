"""`python -m artifacts`: lists, shows, verifies, imports and quantizes models."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts import graph
from artifacts.artifact import MODEL_FILE, Artifact, artifact_names
from artifacts.card import write_card
from artifacts.commands import json_option, print_json, run_command
from artifacts.distribution import artifacts_root, check_writable, install_command
from artifacts.errors import ArtifactError, VitrineError
from artifacts.manifest import NAME_PATTERN, Manifest, Quantization, check_route
from artifacts.provenance import code_version
from artifacts.routes import make_default, models_by_route, unclear_defaults
from artifacts.runtime import Runtime
from artifacts.sessions import ort_errors
from artifacts.verification.decision import METRICS


@click.group()
def main() -> None:
    """List, show, verify and quantize the models on disk, read their cards, import foreign ones."""


@main.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the artifacts, and for each route the model that answers by default."""
    manifests: dict[str, Manifest] = {}
    broken: dict[str, str] = {}
    for name in artifact_names():
        try:
            manifests[name] = Artifact.open(name).manifest
        except ArtifactError as error:
            broken[name] = str(error)
    names = (*manifests, *broken)
    routes = models_by_route(manifests, names)
    if as_json:
        defaults = {models[0] for models in routes.values()}
        entries = [
            m.model_dump(mode="json") | {"name": n, "answers_for_route": n in defaults}
            for n, m in manifests.items()
        ]
        print_json([*entries, *({"name": n, "error": e} for n, e in broken.items())])
    else:
        Console().print(_table(manifests) if manifests else f"no artifacts in {artifacts_root()}")
        if routes:
            Console().print(_route_table(routes))
        for name, reason in broken.items():
            click.echo(f"{name}: {reason}", err=True)
    for sentence in unclear_defaults(manifests, names):
        click.echo(f"warning: {sentence}", err=True)
    if broken:
        raise click.exceptions.Exit(1)


def _table(manifests: dict[str, Manifest]) -> Table:
    figures = [
        Column(name, no_wrap=True, justify="right") for name in ("weights", "validation", "test")
    ]
    table = Table(Column("name", no_wrap=True), "route", "data", *figures, box=box.SIMPLE)
    for name, m in manifests.items():
        data = "" if m.dataset is None else m.dataset.name + (" (synthetic)" * m.synthetic)
        scores = [m.metric("accuracy", split) for split in ("validation", "test")]
        table.add_row(
            name,
            m.route or "",
            data,
            f"{m.parameters.total:,}" if m.parameters else "",
            *("" if score is None else f"{score:.4f}" for score in scores),
        )
    return table


def _route_table(routes: dict[str, tuple[str, ...]]) -> Table:
    table = Table("route", "default model", Column("models", justify="right"), box=box.SIMPLE)
    for route, models in routes.items():
        table.add_row(route, models[0], str(len(models)))
    return table


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
@click.argument("name")
@click.option("--title", help="Set the description of the model, one line, and save the artifact.")
def card(name: str, title: str | None) -> None:
    """Show the model card of artifact NAME: its use, origin, data and terms, figures and limits."""
    artifact = Artifact.open(name)
    if title is not None:
        manifest = artifact.manifest.model_copy(update={"title": title.strip().rstrip(".")})
        artifact = artifact.rewrite(manifest, artifact.contents())
    click.echo(write_card(artifact.manifest), nl=False)


@main.command("default")
@click.argument("name")
def default_command(name: str) -> None:
    """Make artifact NAME the default of its route, in place of any other."""
    chosen = Artifact.open(name)
    replaced = make_default(chosen.name)
    instead = f", in place of {', '.join(replaced)}" if replaced else ""
    click.echo(f"{chosen.name} answers for the route {chosen.manifest.route}{instead}")


@main.command()
@click.argument("name", required=False)
@json_option
def verify(name: str | None, as_json: bool) -> None:
    """Verify artifact NAME, or all artifacts; exit with a non-zero status if one is invalid."""
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
    if not results:
        raise ArtifactError(
            f"no artifacts under {artifacts_root()}: nothing to verify. Set VITRINE_ARTIFACTS to "
            "the folder that contains them."
        )
    if as_json:
        print_json(results)
    else:
        for each, result in results.items():
            click.echo(f"{each}: {result}", err=result != "ok")
    if any(result != "ok" for result in results.values()):
        raise click.exceptions.Exit(1)


@main.command("import")
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
    _check_output(Runtime(content, manifest.input), manifest)
    artifact = Artifact.save(manifest, {MODEL_FILE: content})
    if as_json:
        print_json(artifact.manifest.model_dump(mode="json"))
    else:
        click.echo(f"imported as {manifest.name}: {artifact.path}")


@main.command()
@click.argument("name")
@click.option(
    "--dataset", help="Data set to measure on; by default the one that the manifest names."
)
@json_option
def quantize(name: str, dataset: str | None, as_json: bool) -> None:
    """Serve classifier NAME in 8-bit integers, if that is faster and nearly as accurate.

    Activation ranges are calibrated on training pictures. Accuracy, measured on the whole test
    split, may fall by half a percentage point. The measurements are recorded either way. Run this
    on the machine that will serve the model: integers are fast on a CPU that has instructions for
    them, and slow on a GPU.
    """
    try:
        # the library takes a second to import
        from artifacts import quantize as quantization  # noqa: PLC0415
    except ImportError as error:
        raise VitrineError(
            f"quantization needs a package that is not installed ({error}). Install it: "
            f"{install_command('quantize')}."
        ) from None

    check_writable(artifacts_root())
    record = quantization.quantize(Artifact.open(name), dataset)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    Console().print(_comparison(record))
    click.echo(f"{name}: served in {'int8' if record.served else 'fp32, as before'}")


def _comparison(record: Quantization) -> Table:
    forms = {"fp32": record.fp32, "int8": record.int8}
    speeds = [Column(f"pictures/s, batches of {n}") for n in record.fp32.pictures_per_second]
    table = Table("", f"accuracy on {record.test}", *speeds, box=box.SIMPLE)
    for form, measured in forms.items():
        shown = (f"{speed:,.1f}" for speed in measured.pictures_per_second.values())
        table.add_row(form, f"{measured.accuracy:.4f}", *shown)
    return table


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


if __name__ == "__main__":
    run_command(main, "python -m artifacts")
