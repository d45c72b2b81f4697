"""`vitrine train PICTURES`: train a model on your own pictures, from a folder to a served model."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from filelock import FileLock, Timeout

from artifacts import Artifact, ArtifactError, VitrineError, artifact_names
from artifacts.commands import run_command
from artifacts.distribution import artifacts_root, check_writable
from artifacts.manifest import NAME_PATTERN, check_route
from training.pictures.plan import Budget
from training.recipe import recipe_names

RUNS = Path("runs")
TABLE_FILE = "pictures.csv"


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    pictures: Path
    name: str
    budget: float | None
    """Seconds; None follows from the number of pictures."""
    model: str
    weights: str
    seed: int
    route: str | None
    side: int | None
    """Side of a square in px; None follows from the pictures."""

    @property
    def folder(self) -> Path:
        """Folder of the run's files."""
        return RUNS / self.name

    @property
    def data(self) -> str:
        """Name of the data set of the divided pictures."""
        return f"table/{(self.folder / TABLE_FILE).as_posix()}"

    @property
    def command(self) -> str:
        """The command line that gives the same model."""
        from training.pictures.candidates import DEFAULT_MODEL, default_weights

        words = ["vitrine", "train", str(self.pictures), "--name", self.name]
        if self.budget is not None:
            words += ["--budget", f"{self.budget:.0f}s"]
        if self.model != DEFAULT_MODEL:
            words += ["--model", self.model]
        if self.weights != default_weights(self.model):
            words += ["--weights", self.weights]
        if self.seed:
            words += ["--seed", str(self.seed)]
        if self.route:
            words += ["--route", self.route]
        if self.side is not None:
            words += ["--side", str(self.side)]
        return shlex.join(words)


@click.command("pictures")
@click.argument("pictures", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the model.")
@click.option(
    "--budget",
    type=Budget(),
    help="Time from the start of training to the measured model, such as 90s, 10m or 1h; by "
    "default 0.4 seconds per picture, between 1 and 10 minutes.",
)
@click.option(
    "--model",
    default="tf_efficientnet_lite0",
    show_default=True,
    help="Network, as timm names it. The weights of tf_efficientnet_lite0, 1 and 2 are installed.",
)
@click.option(
    "--weights",
    help="File of the network's weights; by default those installed, or else those of timm.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--route", help="Purpose whose address the model also serves, such as birds.")
@click.option(
    "--side",
    type=click.IntRange(32, 1024),
    help="Pictures are resized to the area of a square of this side in px; by default to twice "
    "their own side, between 128 and 224. Networks that take one size only ignore it.",
)
def pictures_command(
    pictures: Path,
    name: str,
    budget: float | None,
    model: str,
    weights: str | None,
    seed: int,
    route: str | None,
    side: int | None,
) -> None:
    """Train a model on your own PICTURES: a folder with a folder per class, or a table of files.

    The same command, given again, continues an interrupted run.
    """
    from training.pictures.candidates import check_model, default_weights
    from training.pictures.steps import run

    _check_options(name, route)
    check_model(model)
    chosen = weights or default_weights(model)
    options = Options(pictures, name, budget, model, chosen, seed, route, side)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        with _exclusive(options.folder):
            run(options)
    except (KeyboardInterrupt, SystemExit) as end:  # Ctrl-C, or a signal to terminate
        from training.finished import RETRY
        from training.run_state import FINISHED

        how = f"The same command continues: {options.command}"
        if (options.folder / FINISHED).exists():
            how = RETRY.format(name=name)
        click.echo(f"Interrupted. {how}", err=True)
        if isinstance(end, SystemExit):
            raise
        raise click.exceptions.Exit(130) from None


def _check_options(name: str, route: str | None) -> None:
    """Refuse what the artifact would be refused for after training."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise VitrineError(
            f"the name {name!r} is not accepted: a name has 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "the first a letter or a digit."
        )
    try:
        check_route(route, "classification")
    except ValueError as error:
        raise VitrineError(f"the route {route!r} is not accepted: {error}.") from None
    check_writable(artifacts_root())
    _check_free(name)


def _check_free(name: str) -> None:
    """Check that no model of this name exists that another command made.

    Raises:
        VitrineError: There is one, or a recipe has this name.
    """
    if name in recipe_names():
        raise VitrineError(f"{name} is the name of a recipe; choose another --name.")
    if name not in artifact_names():
        return
    try:
        record = Artifact.open(name).manifest.dataset
    except ArtifactError:
        record = None
    if record is None or record.name != f"table/{(RUNS / name / TABLE_FILE).as_posix()}":
        raise VitrineError(
            f"there is a model {name} that was not made by this command; choose another --name, or "
            f"remove the folder {artifacts_root() / name}."
        )


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Refuse a second run of the same name.

    Raises:
        VitrineError: Another process trains a model of this name.
    """
    try:
        with FileLock(folder / "lock", blocking=False):
            yield
    except Timeout:
        raise VitrineError(
            f"another process trains a model in {folder}; wait for it, or choose another --name."
        ) from None


if __name__ == "__main__":
    run_command(pictures_command, "python -m training.pictures.command")
