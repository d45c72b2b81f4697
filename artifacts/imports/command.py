"""The command `vitrine import`."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from artifacts import graph
from artifacts.artifact import MODEL_FILE, Artifact
from artifacts.commands import json_option, print_json
from artifacts.distribution import artifacts_root, check_writable
from artifacts.errors import ArtifactError
from artifacts.imports.adapting import adapt, prepare_graph
from artifacts.imports.archive import onnx_file
from artifacts.imports.checking import check
from artifacts.imports.inputs import Layout, describe
from artifacts.imports.known import measure_reference
from artifacts.imports.loading import load_foreign
from artifacts.imports.options import GroupedCommand, preprocessing_options, settings_of
from artifacts.imports.parameters import read_classes
from artifacts.imports.questions import ask_classes, complete
from artifacts.imports.readers import Found, find
from artifacts.input_policy import InputPolicy
from artifacts.manifest import DEFAULT_THRESHOLD, NAME_PATTERN, Manifest, Task, check_route
from artifacts.proof import BatchError, prove
from artifacts.provenance import code_version
from artifacts.runtime import Runtime
from artifacts.sessions import cpu_session
from artifacts.verification.decision import METRICS

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import", cls=GroupedCommand)
@click.argument("file", type=FILE)
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
    "--metric",
    type=click.Choice(METRICS),
    default=METRICS[0],
    show_default=True,
    help="Distance between embeddings; not used for classifiers.",
)
@click.option("--force", is_flag=True, help="Replace an artifact of the same name.")
@json_option
@preprocessing_options
@click.option("--output", help="Output of the graph to serve, if several could be meant.")
@click.option(
    "--activation",
    type=click.Choice(["auto", "none", "softmax", "sigmoid"]),
    default="auto",
    show_default=True,
    help="What the output is: logits (none), or the probabilities of a softmax or of sigmoids.",
)
@click.option(
    "--layout",
    type=click.Choice(["nchw", "nhwc"]),
    help="Order of the axes of the input, if its shape does not tell.",
)
@click.option(
    "--reference",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with a folder of pictures per class, which the model was not trained on: fits "
    "verdicts about pictures of other things, and sets of classes.",
)
@click.option("--check", "picture", type=FILE, help="Show what the model says about this picture.")
@click.option(
    "--expect",
    type=FILE,
    help="NumPy file of what the model's framework says about it, probabilities or logits.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-3,
    show_default=True,
    help="Greatest difference from --expect that is accepted.",
)
def import_command(
    file: Path,
    task: Task,
    classes: str | None,
    name: str | None,
    route: str | None,
    metric: str,
    force: bool,
    as_json: bool,
    output: str | None,
    activation: Any,
    layout: Layout | None,
    reference: Path | None,
    picture: Path | None,
    expect: Path | None,
    tolerance: float,
    **preprocessing: Any,
) -> None:
    """Make an artifact from a foreign ONNX FILE, so that it can be served and analysed.

    The preprocessing is read from the configuration that timm, Hugging Face or Ultralytics wrote
    beside or into the file, or set by options. What is not known is asked for, not guessed. An
    archive of TorchServe (.mar) with an ONNX file is taken, too.
    """
    name = _free_name(name or file.stem.lower(), force=force)
    try:
        check_route(route, task)
    except ValueError as error:
        raise click.UsageError(f"--route {route!r}: {error}.") from None
    if expect is not None and picture is None:
        raise click.UsageError("--expect needs the picture it is about; give it with --check.")
    given = settings_of(preprocessing)
    with onnx_file(file) as path:
        model = load_foreign(path)
        found, problem = _find(model, path, preprocessing["config"])
    class_names = _classes(classes, found, task)
    names = prepare_graph(model)
    settings = found.settings.under(given) if found else given
    foreign = describe(model.graph, layout, settings.size)
    if problem is not None and settings.missing(foreign):
        raise problem
    settings = complete(settings, foreign)
    policy = settings.policy(foreign, preprocessing["native"])
    adapted = adapt(
        model,
        names,
        foreign,
        settings.normalisation(foreign),
        task,
        classes=None if task == "embedding" else len(class_names),
        size=policy.fixed_size,
        output=output,
        activation=activation,
    )
    content = adapted.model.SerializeToString()
    policy, notes = _prove(content, policy)
    manifest = Manifest.build(
        name=name,
        task=task,
        route=route,
        classes=class_names,
        thresholds=(DEFAULT_THRESHOLD,) * len(class_names) if task == "multi-label" else (),
        verification={"metric": metric} if task == "embedding" else None,
        input=policy,
        code_version=code_version(),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    lines = [f"{_summary(policy)} ({found.source})"] if found else []
    lines += [*adapted.notes, *notes]
    if picture is not None:
        runtime = Runtime(content, policy, engine=cpu_session)  # the tolerance is that of float32
        lines += check(runtime, manifest, picture, expect, tolerance)
    files = {MODEL_FILE: content}
    if reference is not None:
        added = measure_reference(Runtime(content, policy), manifest, reference)
        manifest = manifest.model_copy(update=added.fields)
        files |= added.files
    artifact = Artifact.save(manifest, files)
    for line in lines:
        click.echo(line, err=as_json)
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
    check_writable(artifacts_root())
    if (artifacts_root() / name).exists() and not force:
        raise ArtifactError(
            f"{name} exists already; choose another name with --name, or replace it with --force."
        )
    return name


def _find(model: Any, file: Path, config: Path | None) -> tuple[Found | None, ArtifactError | None]:
    """Return what a configuration says, or why one that nobody asked for cannot be read."""
    try:
        return find(model, file, config), None
    except ArtifactError as error:
        if config is not None:
            raise
        return None, error


def _classes(given: str | None, found: Found | None, task: Task) -> list[str]:
    if given is None and task == "embedding":
        return []
    if given is None and found is not None and found.classes:
        return list(found.classes)
    return read_classes(given if given is not None else ask_classes())


def _prove(content: bytes, policy: InputPolicy) -> tuple[InputPolicy, list[str]]:
    """Ask the finished graph at the sizes of its policy, one picture and several at a time.

    Returns:
        The policy, in which `batch` is "one" if the graph needs that, and what to tell the user.
    """
    try:
        prove(content, policy)
    except BatchError:
        return policy.model_copy(update={"batch": "one"}), [
            "The graph declares that it takes any number of pictures, but does not answer several "
            "as it answers each of them; it gets one at a time."
        ]
    except ArtifactError as error:
        raise ArtifactError(
            f"{error} Options: --size with --resize for one size, --native for a range of sides."
        ) from None
    return policy, []


def _summary(policy: InputPolicy) -> str:
    """Describe the preprocessing in one line."""
    if policy.fixed_size is None:
        return "Preprocessing: sizes are kept"
    height, width = policy.fixed_size
    before = policy.resize_to
    first = (
        f" from {before if isinstance(before, int) else 'x'.join(map(str, before))}"
        if before
        else ""
    )
    return f"Preprocessing: {policy.resize} to {height}x{width}{first}, {policy.interpolation}"
