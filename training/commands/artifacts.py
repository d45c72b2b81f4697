"""Commands of `python -m training` that work on existing artifacts."""

import click

from artifacts import Artifact
from artifacts.atlas import ATLAS_FILE
from artifacts.commands import json_option, print_json
from artifacts.datasets.registry import HELP
from artifacts.known.text import known_text, sets_text
from artifacts.manifest import Manifest


@click.command("reference")
@click.argument("name")
@click.option("--dataset", help=f"Pictures to measure: NAME:SPLIT of {HELP}.")
def reference_command(name: str, dataset: str | None) -> None:
    """Measure the drift reference of artifact NAME again.

    Without --dataset, the validation pictures of its recipe are measured. The graph is unchanged.
    """
    from training.drift_reference import add_reference, held_out, of_dataset

    artifact = Artifact.open(name)
    images, data = of_dataset(dataset) if dataset else held_out(artifact.manifest, artifact.path)
    done = add_reference(artifact, images, data)
    click.echo(f"{done.path}: reference of {data}")


@click.command("known")
@click.argument("name")
@click.option(
    "--outliers",
    multiple=True,
    metavar="DATASET",
    help="Pictures of other things, to choose and fit with: NAME:SPLIT, or generated:KIND. By "
    "default, all generated kinds.",
)
@click.option(
    "--unseen",
    multiple=True,
    metavar="DATASET",
    help="Pictures of yet other things, on which only the share that is refused is measured.",
)
@click.option(
    "--elsewhere",
    multiple=True,
    metavar="DATASET",
    help="Pictures of known kinds, on which only the share that is kept is measured.",
)
@json_option
def known_command(
    name: str,
    outliers: tuple[str, ...],
    unseen: tuple[str, ...],
    elsewhere: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fit the verdicts and the sets of classes of classifier NAME again; the graph is unchanged.

    Verdicts say `cannot_say` about pictures unlike the training pictures. They are fitted on the
    graph that is served on this machine. Options can be given several times.
    """
    from training.known import fit_known

    done = fit_known(Artifact.open(name), outliers, unseen, elsewhere)
    manifest = done.manifest
    if as_json:
        print_json(manifest.model_dump(mode="json", include={"known", "sets"}))
        return
    click.echo("\n\n".join([*known_text(manifest), *sets_text(manifest)]))


@click.command("halve")
@click.argument("name")
def halve_command(name: str) -> None:
    """Store the weights of artifact NAME in half precision and measure it again.

    The artifact is left unchanged if an answer would change by more than 0.001. Its atlas is of the
    former graph and is removed.
    """
    from training.publish import halve_artifact

    before = Artifact.open(name)
    size = before.model_path.stat().st_size
    done = halve_artifact(before)
    smaller = done.model_path.stat().st_size
    click.echo(f"{done.path}: {size:,} -> {smaller:,} bytes; {headline(done.manifest)}")
    if ATLAS_FILE in before.manifest.files:
        click.echo(
            "Its atlas was of the former graph and is removed; make one again: vitrine analyse "
            f"atlas --model {name} --dataset NAME:SPLIT"
        )


@click.command("remeasure")
@click.argument("name")
def remeasure_command(name: str) -> None:
    """Prepare the pictures of artifact NAME as its recipe now says, and measure it again.

    The settings detail, max_aspect and interpolation may have changed if they leave the training
    pictures as they were. The graph is unchanged. Fit the verdicts again afterwards: vitrine train
    known NAME.
    """
    from training.remeasure import remeasure_artifact

    done = remeasure_artifact(Artifact.open(name))
    click.echo(f"{done.path}: {headline(done.manifest)}")


def headline(manifest: Manifest) -> str:
    """Return the main figure and its pictures.

    That is the test accuracy of a classifier, the mean average precision of a multi-label model,
    and the error rate on test people of an embedding.
    """
    if manifest.task != "embedding":
        name = manifest.main_metric
        tested = next(m for m in manifest.metrics if (m.name, m.split) == (name, "test"))
        data = manifest.dataset
        origin = f" held out of {data.name}" if data and data.divided else ""
        shown = "mAP" if name == "map" else name
        return f"test {shown} {tested.value:.4f} on {tested.samples:,} pictures{origin}"
    split = f"{manifest.dataset.name}:test" if manifest.dataset else "test"
    return f"equal error rate {manifest.metric('eer', split):.4f} on {split}"
