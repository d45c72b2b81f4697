"""Everything that fits a model in one HTML file that opens without a network."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from analysis import calibration, changes, confusion, distances, labels, neighbours, sparsity
from analysis import map as feature_map
from analysis.options import Asked, common_options
from analysis.output import data_url, render_page
from artifacts import VitrineError
from artifacts.provenance import code_version, hardware
from serving.schemas import ModelInfo

CLASSIFIER = (
    confusion.command,
    calibration.command,
    labels.command,
    changes.sizes_command,
    changes.robustness_command,
    feature_map.command,
    neighbours.command,
    distances.command,
    sparsity.command,
)
EMBEDDING = (feature_map.command, neighbours.command, distances.command, sparsity.command)
MANY_PASSES = (changes.sizes_command, changes.robustness_command)
"""These classify the pictures a dozen times and more: they get at most `FEWER` pictures."""
FEWER = 1000


@dataclass(frozen=True)
class Section:
    """What one analysis found, or why it could not be made."""

    name: str
    about: str
    command: str
    findings: Sequence[str] = ()
    figures: Sequence[tuple[str, str]] = ()
    """(title, data URL of the PNG)."""
    tables: Sequence[str] = ()
    """Paths of the CSV files, relative to the report."""
    error: str = ""


def make_section(analysis: click.Command, arguments: Sequence[str], root: Path) -> Section:
    """Run an analysis into its folder under `root`, unless the same one stands there already."""
    name = str(analysis.name)
    folder = root / name
    words = [name, *arguments, "--out", str(folder)]
    command = shlex.join(["python", "-m", "analysis", *words])
    about = (analysis.help or "").partition("\n")[0]
    sidecar = folder / f"{name}.json"
    if not sidecar.exists() or _read(sidecar).get("command") != command:
        before = sys.argv
        sys.argv = [before[0], *words]  # what the analysis records as its command
        try:
            analysis.main(words[1:], prog_name=name, standalone_mode=False)
        except (VitrineError, click.UsageError) as error:
            return Section(name, about, command, error=str(error))
        finally:
            sys.argv = before
    figures = [
        (path.stem, data_url("image/png", path.read_bytes()))
        for path in sorted(folder.glob("*.png"))
    ]
    tables = [str(path.relative_to(root)) for path in sorted(folder.glob("*.csv"))]
    return Section(name, about, command, _read(sidecar)["findings"], figures, tables)


def render(info: ModelInfo, sections: Sequence[Section], command: str) -> str:
    """The page: contents, the model, and a section for each analysis."""
    return render_page(
        "report.html.j2",
        info=info,
        sections=sections,
        command=command,
        code_version=code_version(),
        hardware=hardware(),
    )


@click.command("report")
@click.option(
    "--model", "models", required=True, multiple=True, metavar="NAME", help="A page for each."
)
@common_options
def command(models: tuple[str, ...], asked: Asked) -> None:
    """All analyses that fit the model, in one page.

    Writes NAME/index.html, which opens from disk, and the files of each analysis beside it. What
    stands there from the same command is not made again, so an interrupted report goes on where it
    was. Sizes and robustness use at most 1,000 pictures.
    """
    if (asked.images is None) == (asked.dataset is None):
        raise click.UsageError("give either --images DIR or --dataset NAME:SPLIT.")
    predictor = asked.predictor()
    infos = [predictor.model_info(name) for name in dict.fromkeys(models)]
    for info in infos:
        root = asked.folder("report") / info.name
        arguments = ["--model", info.name]
        arguments += ["--images", str(asked.images)] if asked.images else []
        arguments += ["--dataset", asked.dataset] if asked.dataset else []
        arguments += ["--url", asked.url] if asked.url else []
        sections = []
        for analysis in CLASSIFIER if info.task == "classification" else EMBEDDING:
            count = min(asked.limit or FEWER, FEWER) if analysis in MANY_PASSES else asked.limit
            counted = ["--limit", str(count)] if count else []
            sections.append(make_section(analysis, [*arguments, *counted], root))
        words = shlex.join(["python", "-m", "analysis", *sys.argv[1:]])
        root.mkdir(parents=True, exist_ok=True)
        page = root / "index.html"
        page.write_text(render(info, sections, words), encoding="utf-8")
        for section in sections:
            if section.error:
                click.echo(f"{section.name} could not be made: {section.error}", err=True)
        if all(section.error for section in sections):
            raise VitrineError(f"nothing of the report on {info.name} could be made.")
        click.echo(page)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
