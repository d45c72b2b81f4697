"""Commands of `python -m training` about artifacts that are there already."""

import click

from artifacts import Artifact
from artifacts.datasets.registry import HELP
from artifacts.manifest import Manifest


@click.command("reference")
@click.argument("name")
@click.option("--dataset", help=f"Take these pictures: NAME:SPLIT of {HELP}.")
def reference_command(name: str, dataset: str | None) -> None:
    """Measure anew what the answers of artifact NAME are compared with for drift.

    Without --dataset: the pictures that its recipe held out to validate. The graph stays as it is.
    """
    from training.drift_reference import add_reference, held_out, of_dataset

    artifact = Artifact.open(name)
    images, data = of_dataset(dataset) if dataset else held_out(artifact.manifest)
    done = add_reference(artifact, images, data)
    click.echo(f"{done.path}: reference of {data}")


@click.command("halve")
@click.argument("name")
def halve_command(name: str) -> None:
    """Store the weights of artifact NAME in half precision, and measure it anew.

    The artifact stays as it is where an answer would change by more than a thousandth.
    """
    from training.publish import halve_artifact

    before = Artifact.open(name)
    size = before.model_path.stat().st_size
    done = halve_artifact(before)
    smaller = done.model_path.stat().st_size
    click.echo(f"{done.path}: {size:,} -> {smaller:,} bytes; {headline(done.manifest)}")


def headline(manifest: Manifest) -> str:
    """The one figure that says most: accuracy, or the equal error rate on people of the test."""
    if manifest.task == "classification":
        return f"test accuracy {manifest.metric('accuracy', 'test'):.4f}"
    split = f"{manifest.dataset.name}:test" if manifest.dataset else "test"
    return f"equal error rate {manifest.metric('eer', split):.4f} on {split}"
