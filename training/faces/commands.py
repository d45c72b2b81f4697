"""Commands of `vitrine train` for faces: import networks and set thresholds."""

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table

from artifacts import Artifact
from artifacts.manifest import Manifest

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
folder_argument = click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path)
)


@click.command("import-dlib")
@file_argument
def import_dlib_command(file: Path) -> None:
    """Convert FILE, dlib_face_recognition_resnet_model_v1.dat, to the artifact faces-dlib."""
    from training.imports.dlib import import_dlib

    artifact = import_dlib(file)
    click.echo(
        f"{artifact.path}; now set its thresholds: vitrine train calibrate-faces "
        f"{artifact.manifest.name} --dataset faces/COLLECTION:train"
    )


@click.command("import-mtcnn")
@folder_argument
def import_mtcnn_command(folder: Path) -> None:
    """Convert pnet.pt, rnet.pt and onet.pt in FOLDER to the graphs of the face detector."""
    from training.imports.mtcnn import import_mtcnn

    import_mtcnn(folder)


@click.command("calibrate-faces")
@click.argument("name")
@click.option(
    "--dataset",
    multiple=True,
    help="Data set of people whose pictures are paired: faces/COLLECTION:SPLIT (or :all). "
    "Repeatable; each then counts by its number of people.",
)
@click.option(
    "--pairs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV file with the columns first_person, first, second_person, second (paths).",
)
@click.option(
    "--check", multiple=True, help="Measure on these people, too: faces/COLLECTION:SPLIT."
)
@click.option(
    "--fmr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    help="Target false-match rate; repeatable. Default: 0.01, 0.001 and 0.0001.",
)
@click.option(
    "--per-person",
    type=click.IntRange(2),
    default=8,
    show_default=True,
    help="Maximum number of pictures drawn of each person.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draw and of the bootstrap.")
@click.option(
    "--aligned", is_flag=True, help="The pictures are aligned faces already: skip the detector."
)
@click.option(
    "--mirrored/--not-mirrored",
    default=None,
    help="Whether the embedding of a face is the mean of those of its crop and of the mirrored "
    "crop, which takes twice the time. Default: as before.",
)
def calibrate_command(
    name: str,
    dataset: tuple[str, ...],
    pairs: Path | None,
    check: tuple[str, ...],
    fmr: tuple[float, ...],
    per_person: int,
    seed: int,
    aligned: bool,
    mirrored: bool | None,
) -> None:
    """Set the thresholds of embedding NAME by target false-match rate and measure them.

    Faces are detected and aligned as the server does it. Intervals are a bootstrap over people.
    """
    from training.faces.thresholds import (
        TARGETS,
        calibrate,
        measure_pairs,
        measure_people,
        with_mirroring,
    )

    if bool(dataset) == (pairs is not None):
        raise click.UsageError("give either --dataset or --pairs.")
    artifact = Artifact.open(name)
    if mirrored is not None:
        artifact = with_mirroring(artifact, mirrored)
    measured, others = (
        [measure_people(artifact, each, per_person, seed, aligned=aligned) for each in names]
        for names in (dataset, check)
    )
    if pairs is not None:
        measured = [measure_pairs(artifact, pairs, aligned=aligned)]
    done = calibrate(artifact, measured, others, fmr or TARGETS, seed)
    Console().print(_table(done.manifest))
    click.echo(done.path)


def _table(manifest: Manifest) -> Table:
    """Tabulate the rates, a row per threshold and set of people; the card has the intervals."""
    heads = ("target", "distance", "FMR", "FNMR", "EER", "face found")
    table = Table(Column("people", no_wrap=True), *heads, box=box.SIMPLE)
    for split in dict.fromkeys(metric.split for metric in manifest.metrics):
        values = {m.name: m.value for m in manifest.metrics if m.split == split}
        for t in manifest.verification.thresholds if manifest.verification else ():
            keys = (f"fmr@{t.target_fmr:g}", f"fnmr@{t.target_fmr:g}")
            table.add_row(
                split,
                f"{t.target_fmr:g}",
                f"{t.distance:.4f}",
                *(f"{values[k]:.2g}" for k in keys),
                f"{values['eer']:.4f}",
                f"{values['found']:.3f}",
            )
    return table
