"""Options that every analysis has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from analysis.inputs import Pictures
from artifacts.datasets.registry import HELP

OPTIONS = (
    click.option(
        "--images",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of pictures; folders in it are classes.",
    ),
    click.option("--dataset", help=f"Data set NAME:SPLIT under VITRINE_DATA: {HELP}."),
    click.option(
        "--limit", type=click.IntRange(min=1), help="Use so many pictures, drawn evenly; else all."
    ),
    click.option(
        "--url", help="Ask the server there; else the artifact is opened in this process."
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for the report; reports/ANALYSIS-MODEL by default.",
    ),
)


model_option = click.option("--model", required=True, metavar="NAME", help="Model to look into.")


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --images, --dataset, --limit, --url and --out."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def read_pictures(images: Path | None, dataset: str | None, limit: int | None) -> Pictures:
    """The pictures that --images or --dataset names.

    Raises:
        UsageError: both or neither are given.
        DataError: there are no such pictures.
    """
    if images is not None and dataset is None:
        return Pictures.from_folder(images, limit)
    if dataset is not None and images is None:
        return Pictures.from_dataset(dataset, limit)
    raise click.UsageError("give either --images DIR or --dataset NAME:SPLIT.")


def report_folder(out: Path | None, analysis: str, models: tuple[str, ...]) -> Path:
    """Where the report goes: --out, else reports/ANALYSIS-MODEL."""
    return out or Path("reports") / "-".join((analysis, *models))
