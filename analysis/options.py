"""Command-line options that the analyses share."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from analysis.answer_cache import CachingPredictor
from analysis.inputs import Pictures
from artifacts.datasets.registry import HELP
from serving.client import connect
from serving.client.predictor import Predictor

images_option = click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures. Its subfolders are the classes.",
)
dataset_option = click.option(
    "--dataset", help=f"Data set under VITRINE_DATA as NAME:SPLIT, such as {HELP}."
)
OPTIONS = (
    images_option,
    dataset_option,
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        help="Number of pictures to use, evenly spaced over the set; all by default.",
    ),
    click.option(
        "--url",
        help="Address of a server to ask, with the key in VITRINE_KEY. By default, the artifact is "
        "opened in this process.",
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for the report; reports/ANALYSIS-MODEL by default.",
    ),
    click.option(
        "--answers",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder in which to cache the answers of the model for later runs.",
    ),
)


model_option = click.option("--model", required=True, metavar="NAME", help="Model to analyse.")


@dataclass(frozen=True)
class CommonOptions:
    """Values of the common options."""

    images: Path | None
    dataset: str | None
    limit: int | None
    url: str | None
    out: Path | None
    answers: Path | None

    def predictor(self) -> Predictor:
        """Return a predictor: the server at --url or the artifacts, cached with --answers."""
        # the key of the server is no option, because reports record the command that made them
        predictor = connect(self.url)
        return CachingPredictor(predictor, self.answers) if self.answers else predictor

    def pictures(self, limit: int | None = None) -> Pictures:
        """Read the pictures that --images or --dataset names.

        Args:
            limit: maximum number of pictures if --limit is not given.

        Raises:
            UsageError: both options or neither of them are given.
            DataError: the pictures cannot be read.
        """
        number = self.limit or limit
        if self.images is not None and self.dataset is None:
            return Pictures.from_folder(self.images, number)
        if self.dataset is not None and self.images is None:
            return Pictures.from_dataset(self.dataset, number)
        raise click.UsageError("give either --images DIR or --dataset NAME:SPLIT.")

    def folder(self, analysis: str, models: Sequence[str] = ()) -> Path:
        """Return the folder of the report: --out, or reports/ANALYSIS-MODEL by default."""
        return self.out or report_folder(analysis, models)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `OPTIONS` to a command, which receives them as one `CommonOptions`."""

    @functools.wraps(function)
    def command(
        images: Path | None,
        dataset: str | None,
        limit: int | None,
        url: str | None,
        out: Path | None,
        answers: Path | None,
        **rest: Any,
    ) -> Any:
        return function(options=CommonOptions(images, dataset, limit, url, out, answers), **rest)

    decorated: Callable[..., Any] = command
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated


def report_folder(analysis: str, models: Sequence[str] = ()) -> Path:
    """Return the default folder of a report: reports/ANALYSIS-MODEL."""
    return Path("reports") / "-".join((analysis, *models))
