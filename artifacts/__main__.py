"""`python -m artifacts`: lists, shows, verifies, imports and quantizes models."""

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts.artifact import Artifact
from artifacts.card import write_card
from artifacts.commands import json_option, print_json, run_command
from artifacts.distribution import artifacts_root, check_writable, install_command
from artifacts.errors import ArtifactError, VitrineError
from artifacts.imports.command import import_command
from artifacts.manifest import Manifest, Quantization
from artifacts.names import artifact_names
from artifacts.providers import Float16Record
from artifacts.routes import make_default, models_by_route, unclear_defaults
from artifacts.stores.commands import pull_command, push_command


@click.group()
def main() -> None:
    """List, show, verify, quantize, import, pull and push models, and read their cards."""


for command in (import_command, pull_command, push_command):
    main.add_command(command)


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
        scores = [m.metric(m.main_metric, split) for split in ("validation", "test")]
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


@main.command()
@click.argument("name")
@click.option(
    "--dataset", help="Data set to measure on; by default the one that the manifest names."
)
@click.option("--float16", is_flag=True, help="Serve the model in float16 on this GPU instead.")
@json_option
def quantize(name: str, dataset: str | None, float16: bool, as_json: bool) -> None:
    """Serve classifier NAME in 8-bit integers, if that is faster and nearly as accurate.

    Activation ranges are calibrated on training pictures. Accuracy, measured on the whole test
    split, may fall by half a percentage point. The measurements are recorded either way. Run this
    on the machine that will serve the model: integers are fast on a CPU that has instructions for
    them, and slow on a GPU.

    With --float16, any model NAME is served in float16 on GPUs, if that is faster on the GPU of
    this machine, and the answers to test pictures agree with those in float32 on the CPU.
    """
    try:
        # the library takes a second to import
        from artifacts import float16 as half  # noqa: PLC0415
        from artifacts import quantize as quantization  # noqa: PLC0415
    except ImportError as error:
        raise VitrineError(
            f"quantization needs a package that is not installed ({error}). Install it: "
            f"{install_command('quantize')}."
        ) from None

    check_writable(artifacts_root())
    if float16:
        _show_float16(name, half.add_float16(Artifact.open(name), dataset), as_json)
        return
    record = quantization.quantize(Artifact.open(name), dataset)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    Console().print(_comparison(record))
    click.echo(f"{name}: served in {'int8' if record.served else 'fp32, as before'}")


def _show_float16(name: str, record: Float16Record, as_json: bool) -> None:
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    from artifacts.agreement import ALLOWED  # noqa: PLC0415 - it imports ONNX Runtime

    click.echo(record.sentence + ("" if record.agreement.agrees else f" {ALLOWED}"))
    for batch, before in record.fp32_pictures_per_second.items():
        now = record.float16_pictures_per_second[batch]
        click.echo(f"batches of {batch}: {now:,.1f} pictures/s, {before:,.1f} in fp32")
    served = f"float16 on {record.agreement.provider}" if record.served else "fp32, as before"
    click.echo(f"{name}: served in {served}")


def _comparison(record: Quantization) -> Table:
    forms = {"fp32": record.fp32, "int8": record.int8}
    speeds = [Column(f"pictures/s, batches of {n}") for n in record.fp32.pictures_per_second]
    multi_label = record.fp32.mean_average_precision is not None
    precision = [f"mAP on {record.test}"] if multi_label else []
    table = Table("", f"accuracy on {record.test}", *precision, *speeds, box=box.SIMPLE)
    for form, measured in forms.items():
        figures = [measured.accuracy, measured.mean_average_precision]
        shown = [f"{figure:.4f}" for figure in figures if figure is not None]
        shown += [f"{speed:,.1f}" for speed in measured.pictures_per_second.values()]
        table.add_row(form, *shown)
    return table


if __name__ == "__main__":
    run_command(main, "python -m artifacts")
