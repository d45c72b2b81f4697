"""Collects all analyses of a model in one HTML file that opens without a network."""

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

from analysis import (
    calibration,
    confusion,
    corruptions,
    distances,
    feedback,
    labels,
    neighbours,
    sparsity,
)
from analysis.options import CommonOptions, common_options
from analysis.output import DOTS_PER_INCH, data_url, render_page, this_command
from analysis.tsne_map import command as feature_map
from artifacts import VitrineError
from artifacts.provenance import code_version, hardware
from serving.client import Client, connect
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
MULTI_LABEL = (feature_map.command, neighbours.command, sparsity.command)
ANALYSES = {"classification": CLASSIFIER, "multi-label": MULTI_LABEL, "embedding": EMBEDDING}
"""The analyses that fit the models of each task."""
MANY_PASSES = (corruptions.sizes_command, corruptions.robustness_command)
"""Analyses that classify each picture a dozen times or more."""
MAX_FOR_MANY_PASSES = 1000
"""Maximum number of pictures for the analyses in `MANY_PASSES`."""
KINDS = ("html", "csv", "png")
"""Extensions of the files that a section links to."""
PAGE_WIDTH = 1200
"""Maximum width of the pictures of figures, in pixels: more than the page, for sharp print."""


@dataclass(frozen=True)
class Shown:
    """A figure on the page."""

    title: str
    """What it shows, with the data set and the number of pictures."""
    alt: str
    """Description for people who do not see it."""
    source: str
    """Data URL of the picture."""
    inches: float
    """Width in which its text has the size that it was drawn for."""


@dataclass(frozen=True)
class Section:
    """The results of one analysis, or the reason why it failed."""

    name: str
    about: str
    command: str
    findings: Sequence[str] = ()
    figures: Sequence[Shown] = ()
    files: Sequence[str] = ()
    """Paths of the files of the analysis, relative to the report."""
    error: str = ""


def make_section(
    analysis: click.Command, arguments: Sequence[str], root: Path, graph: str
) -> Section:
    """Run an analysis into its folder under `root`, unless its results are there and current.

    Args:
        analysis: the command of the analysis.
        arguments: arguments of the command, without its name and --out.
        root: folder of the report.
        graph: sha256 of the model's graph; results for another graph are not current.
    """
    name = str(analysis.name)
    folder = root / name
    words = [name, *arguments, "--out", str(folder)]
    command = shlex.join(["python", "-m", "analysis", *words])
    about = (analysis.help or "").partition("\n")[0]
    sidecar = folder / f"{name}.json"
    if not _is_current(sidecar, command, graph):
        for kind in KINDS:  # a figure that is not drawn again must not remain
            for path in folder.glob(f"*.{kind}"):
                path.unlink()
        before = sys.argv
        sys.argv = [before[0], *words]  # the analysis records its command from here
        try:
            analysis.main(words[1:], prog_name=name, standalone_mode=False)
        except (VitrineError, click.UsageError) as error:
            return Section(name, about, command, error=str(error))
        finally:
            sys.argv = before
    about_it = _read(sidecar)
    figures = [
        Shown(words["title"], words["alt"], *_embedded(folder / f"{stem}.png"))
        for stem, words in about_it["figures"].items()
    ]
    files = [
        path.relative_to(root).as_posix()
        for kind in KINDS
        for path in sorted(folder.glob(f"*.{kind}"))
    ]
    return Section(name, about, command, about_it["findings"], figures, files)


METRICS = {
    "accuracy-top5": "accuracy, one of the first five",
    "auc": "area under the ROC curve",
    "ece": "expected calibration error",
    "eer": "equal error rate",
    "f1-macro": "F1, mean of the classes",
    "f1-micro": "F1 of all answers",
    "fnmr": "false non-match rate",
    "loss": "loss (nats)",
    "map": "mean average precision",
}
"""Names of metrics on the page, where a manifest abbreviates them."""
ENDS = {"low": ", lower end of the 95 % interval", "high": ", upper end of the 95 % interval"}


def metric_name(name: str) -> str:
    """Return the name of a metric in words; unknown names stay as they are."""
    whole, _, end = name.partition("/")
    first, at, rest = whole.partition("@")
    return METRICS.get(first, first) + f" at {rest}" * bool(at) + ENDS.get(end, end)


def render(info: ModelInfo, sections: Sequence[Section], command: str) -> str:
    """Render the page: contents, the model, and a section for each analysis."""
    return render_page(
        "report.html.j2",
        info=info,
        sections=sections,
        command=command,
        metric_name=metric_name,
        code_version=code_version(),
        hardware=hardware(),
    )


@click.command("report")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Model to report on; may be repeated. All models by default.",
)
@common_options
@click.option(
    "--pages",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder into which each page is also written as NAME.html, without links to files.",
)
def command(models: tuple[str, ...], options: CommonOptions, pages: Path | None) -> None:
    """Run all analyses that fit the model, and show them on one page.

    Writes NAME/index.html, which opens from disk, and the files of each analysis beside it. Results
    of the same command and graph are reused, and the answers of the model are cached in
    NAME/answers, so that an interrupted report continues where it stopped. Without --images and
    --dataset, the pictures are the test split of the data that the model was trained on. Sizes and
    robustness use at most 1,000 pictures. With --url, feedback on the answers is shown, too.
    """
    if options.images and options.dataset:
        raise click.UsageError("give either --images DIR or --dataset NAME:SPLIT.")
    predictor = options.predictor()
    infos = [predictor.model_info(name) for name in dict.fromkeys(models)] or predictor.models()
    if options.images is None and options.dataset is None:
        infos = _with_data(infos)
    failed = []
    for info in infos:
        try:
            make_report(info, options, pages)
        except VitrineError as error:
            if len(infos) == 1:
                raise
            failed.append(info.name)
            click.echo(f"{info.name}: {error}", err=True)
    if failed:
        raise VitrineError(
            f"the reports on {', '.join(failed)} failed; the lines above give the reasons."
        )


def make_report(info: ModelInfo, options: CommonOptions, pages: Path | None) -> None:
    """Make the sections of a model's report that are missing or outdated, and its page.

    Raises:
        VitrineError: none of the sections could be made, or the page cannot be written.
    """
    root = options.folder("report") / info.name
    arguments = ["--model", info.name, *_pictures(info, options)]
    arguments += ["--url", options.url] if options.url else []
    arguments += ["--answers", str(options.answers or root / "answers")]
    sections = []
    for analysis in ANALYSES[info.task]:
        count = (
            min(options.limit or MAX_FOR_MANY_PASSES, MAX_FOR_MANY_PASSES)
            if analysis in MANY_PASSES
            else options.limit
        )
        counted = ["--limit", str(count)] if count else []
        sections.append(make_section(analysis, [*arguments, *counted], root, info.hash))
    if options.url and _has_feedback(options.url, info):
        # what people say changes, so that an earlier section is never current
        (root / "feedback" / "feedback.json").unlink(missing_ok=True)
        own = ["--model", info.name, "--url", options.url]
        sections.append(make_section(feedback.command, own, root, info.hash))
    for section in sections:
        if section.error:
            click.echo(f"{section.name} failed: {section.error}", err=True)
    if all(section.error for section in sections):
        raise VitrineError(f"no section of the report on {info.name} could be made.")
    _write_page(root / "index.html", render(info, sections, this_command()))
    if pages is not None:
        alone = [replace(section, files=()) for section in sections]
        _write_page(pages / f"{info.name}.html", render(info, alone, this_command()))


def _has_feedback(url: str, info: ModelInfo) -> bool:
    """Return whether the server may tell what feedback says about the model, and there is some."""
    client = connect(url)
    try:
        return isinstance(client, Client) and bool(feedback.figures_of(client, info))
    except VitrineError:
        return False


def _pictures(info: ModelInfo, options: CommonOptions) -> list[str]:
    if options.images is not None:
        return ["--images", str(options.images)]
    own = f"{info.dataset.name}:test" if info.dataset else ""
    return ["--dataset", options.dataset or own]


def _with_data(infos: Sequence[ModelInfo]) -> list[ModelInfo]:
    """Return the models whose data set is known, and print the names of the others to stderr.

    Raises:
        VitrineError: there is no such model.
    """
    known = [info for info in infos if info.dataset]
    for info in infos:
        if not info.dataset:
            click.echo(
                f"the manifest of {info.name} does not say what it was trained on; give --images "
                "or --dataset.",
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


def _embedded(path: Path) -> tuple[str, float]:
    """Return a figure as a data URL, and its width in inches.

    The picture is at most `PAGE_WIDTH` wide, which takes a fraction of the PNG's size.
    """
    content = io.BytesIO()
    with Image.open(path) as image:
        inches = image.width / DOTS_PER_INCH
        image.thumbnail((PAGE_WIDTH, image.height), Image.Resampling.LANCZOS)
        image.convert("RGB").save(content, "AVIF", quality=50)
    return data_url("image/avif", content.getvalue()), inches


def _is_current(sidecar: Path, command: str, graph: str) -> bool:
    """Return whether the results of an analysis are complete, and of this command and graph."""
    try:
        about = _read(sidecar)
    except (FileNotFoundError, ValueError):  # ValueError: the file is truncated
        return False
    graphs = [model["hash"] for model in about["models"]]
    described = "figures" in about  # results of earlier versions have no descriptions
    return about["command"] == command and graphs == [graph] and described


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
