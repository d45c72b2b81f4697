"""Everything that fits a model in one HTML file that opens without a network."""

import io
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from PIL import Image

from analysis import calibration, confusion, corruptions, distances, labels, neighbours, sparsity
from analysis.options import Asked, common_options
from analysis.output import data_url, render_page, this_command
from analysis.tsne_map import command as feature_map
from artifacts import VitrineError
from artifacts.provenance import code_version, hardware
from serving.schemas import ModelInfo

CLASSIFIER = (
    confusion.command,
    calibration.command,
    labels.command,
    corruptions.sizes_command,
    corruptions.robustness_command,
    feature_map.command,
    neighbours.command,
    distances.command,
    sparsity.command,
)
EMBEDDING = (feature_map.command, neighbours.command, distances.command, sparsity.command)
MANY_PASSES = (corruptions.sizes_command, corruptions.robustness_command)
"""These classify the pictures a dozen times and more: they get at most `FEWER` pictures."""
FEWER = 1000
KINDS = ("html", "csv", "png")
"""Endings of the files that a section links to."""
PAGE_WIDTH = 960
"""Of the page's text, px."""


@dataclass(frozen=True)
class Section:
    """What one analysis found, or why it could not be made."""

    name: str
    about: str
    command: str
    findings: Sequence[str] = ()
    figures: Sequence[tuple[str, str]] = ()
    """(title, data URL of the picture)."""
    files: Sequence[str] = ()
    """Paths of tables and pages, relative to the report."""
    error: str = ""


def make_section(
    analysis: click.Command, arguments: Sequence[str], root: Path, graph: str
) -> Section:
    """Run an analysis into its folder under `root`, unless the same one stands there already.

    Args:
        analysis: the command.
        arguments: what it is given, without its name and --out.
        root: folder of the report.
        graph: sha256 of the model's graph; what was made of another is made anew.
    """
    name = str(analysis.name)
    folder = root / name
    words = [name, *arguments, "--out", str(folder)]
    command = shlex.join(["python", "-m", "analysis", *words])
    about = (analysis.help or "").partition("\n")[0]
    sidecar = folder / f"{name}.json"
    if not _stands(sidecar, command, graph):
        for kind in KINDS:  # a figure that is not drawn any more
            for path in folder.glob(f"*.{kind}"):
                path.unlink()
        before = sys.argv
        sys.argv = [before[0], *words]  # what the analysis records as its command
        try:
            analysis.main(words[1:], prog_name=name, standalone_mode=False)
        except (VitrineError, click.UsageError) as error:
            return Section(name, about, command, error=str(error))
        finally:
            sys.argv = before
    figures = [(path.stem, _embedded(path)) for path in sorted(folder.glob("*.png"))]
    files = [
        path.relative_to(root).as_posix()
        for kind in KINDS
        for path in sorted(folder.glob(f"*.{kind}"))
    ]
    return Section(name, about, command, _read(sidecar)["findings"], figures, files)


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
    "--model", "models", multiple=True, metavar="NAME", help="A page for each; else for all models."
)
@common_options
@click.option(
    "--pages",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write each page, NAME.html, into this folder, without links to files.",
)
def command(models: tuple[str, ...], asked: Asked, pages: Path | None) -> None:
    """All analyses that fit the model, in one page.

    Writes NAME/index.html, which opens from disk, and the files of each analysis beside it. What
    stands there from the same command and graph is not made again, and what the model answered is
    kept in NAME/answers: an interrupted report goes on where it was. Without --images and --dataset
    a model is shown the test split of the data it was trained on. Sizes and robustness use at most
    1,000 pictures.
    """
    if asked.images and asked.dataset:
        raise click.UsageError("give either --images DIR or --dataset NAME:SPLIT.")
    predictor = asked.predictor()
    infos = [predictor.model_info(name) for name in dict.fromkeys(models)] or predictor.models()
    if asked.images is None and asked.dataset is None:
        infos = _with_data(infos)
    failed = []
    for info in infos:
        try:
            make_report(info, asked, pages)
        except VitrineError as error:
            if len(infos) == 1:
                raise
            failed.append(info.name)
            click.echo(f"{info.name}: {error}", err=True)
    if failed:
        raise VitrineError(f"there is no report on {', '.join(failed)}; the lines above say why.")


def make_report(info: ModelInfo, asked: Asked, pages: Path | None) -> None:
    """Make the sections of a model's report that are missing, and its page.

    Raises:
        VitrineError: no pictures are named for it, or not one section could be made.
    """
    root = asked.folder("report") / info.name
    arguments = ["--model", info.name, *_pictures(info, asked)]
    arguments += ["--url", asked.url] if asked.url else []
    arguments += ["--answers", str(asked.answers or root / "answers")]
    sections = []
    for analysis in CLASSIFIER if info.task == "classification" else EMBEDDING:
        count = min(asked.limit or FEWER, FEWER) if analysis in MANY_PASSES else asked.limit
        counted = ["--limit", str(count)] if count else []
        sections.append(make_section(analysis, [*arguments, *counted], root, info.hash))
    for section in sections:
        if section.error:
            click.echo(f"{section.name} could not be made: {section.error}", err=True)
    if all(section.error for section in sections):
        raise VitrineError(f"nothing of the report on {info.name} could be made.")
    _write_page(root / "index.html", render(info, sections, this_command()))
    if pages is not None:
        alone = [replace(section, files=()) for section in sections]
        _write_page(pages / f"{info.name}.html", render(info, alone, this_command()))


def _pictures(info: ModelInfo, asked: Asked) -> list[str]:
    if asked.images is not None:
        return ["--images", str(asked.images)]
    own = f"{info.dataset.name}:test" if info.dataset else ""
    return ["--dataset", asked.dataset or own]


def _with_data(infos: Sequence[ModelInfo]) -> list[ModelInfo]:
    """The models that say what they were trained on; the others are named on stderr.

    Raises:
        VitrineError: none does.
    """
    known = [info for info in infos if info.dataset]
    for info in infos:
        if not info.dataset:
            click.echo(
                f"{info.name} does not say what it was trained on; give --images or --dataset.",
                err=True,
            )
    if not known:
        raise VitrineError("no report can be made; give --images DIR or --dataset NAME:SPLIT.")
    return known


def _write_page(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VitrineError(f"{path}: cannot be written ({error}).") from None
    click.echo(path)


def _embedded(path: Path) -> str:
    """A figure as a data URL, as wide as the page at most: a seventh of its size as PNG."""
    content = io.BytesIO()
    with Image.open(path) as image:
        image.thumbnail((PAGE_WIDTH, image.height), Image.Resampling.LANCZOS)
        image.convert("RGB").save(content, "AVIF", quality=40)
    return data_url("image/avif", content.getvalue())


def _stands(sidecar: Path, command: str, graph: str) -> bool:
    """Whether an analysis was made, whole, by this command of this graph."""
    try:
        about = _read(sidecar)
    except (FileNotFoundError, ValueError):  # ValueError: cut short while it was written
        return False
    made_of = [model["hash"] for model in about["models"]]
    return about["command"] == command and made_of == [graph]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
