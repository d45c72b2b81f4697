"""Writes the files of a report: tables, figures, and a JSON record of how they were made."""

import base64
import csv
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from analysis.inputs import Pictures
from artifacts import VitrineError
from artifacts.datasets.folders import SUFFIXES
from artifacts.figure_style import describe
from artifacts.provenance import code_version
from serving.schemas import ModelInfo

DOTS_PER_INCH = 150


def this_command() -> str:
    """Return the command line of this process in a form that can be run again."""
    return shlex.join(["python", "-m", "analysis", *sys.argv[1:]])


def title(what: str, models: Sequence[ModelInfo], pictures: Pictures) -> str:
    """Return the title of a figure, with the models, the data and the number of pictures."""
    marked = ", ".join(m.name + " (trained on synthetic data)" * m.synthetic for m in models)
    data = pictures.source + " (synthetic)" * pictures.synthetic
    used = len(pictures) - len(pictures.skipped)
    return f"{what}: {marked} on {data}, {used:,} picture{'s' * (used != 1)}"


def record(
    models: Sequence[ModelInfo], pictures: Pictures | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that is needed to judge and reproduce a report, as JSON values.

    Args:
        models: the models that were analysed.
        pictures: the pictures that they were shown; None for a report on a server's own statistics.
        settings: settings of the analysis.
    """
    return {
        "command": this_command(),
        "code_version": code_version(),
        "models": [
            {"name": m.name, "hash": m.hash, "provider": m.provider, "synthetic": m.synthetic}
            for m in models
        ],
        "data": None
        if pictures is None
        else {
            "source": pictures.source,
            "fingerprint": pictures.fingerprint,
            "synthetic": pictures.synthetic,
            "pictures": len(pictures) - len(pictures.skipped),
            "skipped": pictures.skipped,
            "passed_over": list(pictures.passed_over),
        },
        "settings": dict(settings),
    }


def write_report(
    folder: Path,
    name: str,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    figures: Mapping[str, Figure],
    about: Mapping[str, Any],
    findings: Sequence[str] = (),
) -> None:
    """Write a report under `folder`, and print its findings and the paths of its files.

    Args:
        folder: created if it is missing.
        name: name of the analysis, and of the JSON file.
        tables: rows by the stem of the CSV file. The keys of the first row are the header; a table
            without rows is not written.
        figures: figures by the stem of the PNG file.
        about: the result of `record`. The title and the description of each figure are added.
        findings: sentences with the most important numbers.

    Raises:
        VitrineError: the folder cannot be written.
    """
    sidecar = folder / f"{name}.json"
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, figure in figures.items():
            written.append(folder / f"{stem}.png")
            figure.savefig(written[-1], dpi=DOTS_PER_INCH)
        for stem, rows in tables.items():
            if rows:
                written.append(folder / f"{stem}.csv")
                _write_table(written[-1], rows)
        shown = {
            stem: {"title": " ".join(figure.get_suptitle().split()), "alt": describe(figure)}
            for stem, figure in figures.items()
        }
        content = {**about, "findings": list(findings), "figures": shown}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        sidecar.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise VitrineError(
            f"{folder}: cannot be written ({error}); choose another --out."
        ) from None
    for line in (*findings, *written, sidecar):
        click.echo(line)


def render_page(template: str, **values: Any) -> str:
    """Render a template of this package to a self-contained HTML page."""
    environment = Environment(
        loader=PackageLoader("analysis", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)


def data_url(kind: str, content: bytes) -> str:
    """Return a data URL for content of a MIME type, such as image/png."""
    return f"data:{kind};base64," + base64.b64encode(content).decode()


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def report_skipped(pictures: Pictures) -> None:
    """Print the names and numbers of the pictures and other files that were left out to stderr."""
    for name in pictures.passed_over:
        click.echo(f"passed over {name}: its name has no extension of a picture", err=True)
    if pictures.passed_over:
        endings = ", ".join(sorted(SUFFIXES))
        number = f"passed over {len(pictures.passed_over)} files of {pictures.source}"
        click.echo(f"{number}; names of pictures end in {endings}", err=True)
    for name, reason in pictures.skipped.items():
        click.echo(f"skipped {name}: {reason}", err=True)
    if pictures.skipped:
        click.echo(f"skipped {len(pictures.skipped)} of {len(pictures)} pictures", err=True)
