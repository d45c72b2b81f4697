"""The files of a report: table for programs, figure for people, record of how both were made."""

import csv
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from matplotlib.figure import Figure

from analysis.inputs import Pictures
from artifacts import VitrineError
from artifacts.provenance import code_version
from serving.schemas import ModelInfo

DOTS_PER_INCH = 150


def this_command() -> str:
    """The command line that is running, as it can be typed again."""
    return shlex.join(["python", "-m", "analysis", *sys.argv[1:]])


def title(what: str, models: Sequence[ModelInfo], pictures: Pictures) -> str:
    """Title of a figure: what, of which models, on which data, how many pictures."""
    marked = ", ".join(m.name + " (trained on synthetic data)" * m.synthetic for m in models)
    data = pictures.source + " (synthetic)" * pictures.synthetic
    used = len(pictures) - len(pictures.skipped)
    return f"{what}: {marked} on {data}, {used:,} picture{'s' * (used != 1)}"


def record(
    models: Sequence[ModelInfo], pictures: Pictures, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything needed to judge a report and make it again, as JSON values."""
    return {
        "command": this_command(),
        "code_version": code_version(),
        "models": [
            {"name": m.name, "hash": m.hash, "provider": m.provider, "synthetic": m.synthetic}
            for m in models
        ],
        "data": {
            "source": pictures.source,
            "fingerprint": pictures.fingerprint,
            "synthetic": pictures.synthetic,
            "pictures": len(pictures) - len(pictures.skipped),
            "skipped": pictures.skipped,
        },
        "settings": dict(settings),
    }


def write_report(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    figure: Figure,
    about: Mapping[str, Any],
) -> None:
    """Write `name`.csv, `name`.png and `name`.json under `folder`, and print their paths.

    Args:
        folder: made where missing.
        name: the analysis.
        rows: of the table, at least one; the keys of the first are the header.
        figure: what to draw.
        about: from `record`.

    Raises:
        VitrineError: the folder cannot be written.
    """
    table, picture, sidecar = (folder / f"{name}.{kind}" for kind in ("csv", "png", "json"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        figure.savefig(picture, dpi=DOTS_PER_INCH)
        text = json.dumps(about, indent=2, ensure_ascii=False)
        sidecar.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise VitrineError(
            f"{folder}: cannot be written ({error}); choose another --out."
        ) from None
    for path in (picture, table, sidecar):
        click.echo(path)


def report_skipped(pictures: Pictures) -> None:
    """List on stderr the pictures that were left out, and count them."""
    for name, reason in pictures.skipped.items():
        click.echo(f"skipped {name}: {reason}", err=True)
    if pictures.skipped:
        click.echo(f"skipped {len(pictures.skipped)} of {len(pictures)} pictures", err=True)
