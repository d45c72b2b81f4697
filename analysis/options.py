"""Options that every analysis has."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from analysis.answer_cache import Kept
from analysis.inputs import Pictures
from artifacts.datasets.registry import HELP
from serving.client import connect
from serving.client.predictor import Predictor

images_option = click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures; folders in it are classes.",
)
dataset_option = click.option("--dataset", help=f"Data set NAME:SPLIT under VITRINE_DATA: {HELP}.")
OPTIONS = (
    images_option,
    dataset_option,
    click.option(
        "--limit", type=click.IntRange(min=1), help="Use so many pictures, drawn evenly; else all."
    ),
    click.option(
        "--url",
        help="Ask the server there, with the key in VITRINE_KEY; else the artifact is opened "
        "in this process.",
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for the report; reports/ANALYSIS-MODEL by default.",
    ),
    click.option(
        "--answers",
        type=click.Path(file_okay=False, path_type=Path),
        help="Keep the model's answers in this folder; what it has is not asked again.",
    ),
)


model_option = click.option("--model", required=True, metavar="NAME", help="Model to look into.")


@dataclass(frozen=True)
class Asked:
    """What the common options ask for."""

    images: Path | None
    dataset: str | None
    limit: int | None
    url: str | None
    out: Path | None
    answers: Path | None

    def predictor(self) -> Predictor:
        """The server at --url, or the artifacts; with --answers, what is known is not asked."""
        # no option: reports record the command that made them
        predictor = connect(self.url)
        return Kept(predictor, self.answers) if self.answers else predictor

    def pictures(self, limit: int | None = None) -> Pictures:
        """The pictures that --images or --dataset names; `limit` of them unless --limit is given.

        Raises:
            UsageError: both or neither are given.
            DataError: there are no such pictures.
        """
        number = self.limit or limit
        if self.images is not None and self.dataset is None:
            return Pictures.from_folder(self.images, number)
        if self.dataset is not None and self.images is None:
            return Pictures.from_dataset(self.dataset, number)
        raise click.UsageError("give either --images DIR or --dataset NAME:SPLIT.")

    def folder(self, analysis: str, models: Sequence[str] = ()) -> Path:
        """Where the report goes: --out, else reports/ANALYSIS-MODEL."""
        return self.out or report_folder(analysis, models)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `OPTIONS`, which arrive as one `Asked`."""

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
        return function(asked=Asked(images, dataset, limit, url, out, answers), **rest)

    decorated: Callable[..., Any] = command
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated


def report_folder(analysis: str, models: Sequence[str] = ()) -> Path:
    """Where reports go by themselves: reports/ANALYSIS-MODEL."""
    return Path("reports") / "-".join((analysis, *models))
