"""`vitrine classify` and `vitrine faces verify|enrol|identify`: ask about picture files."""

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from artifacts import VitrineError
from artifacts.commands import json_option, print_json
from artifacts.progress import Progress
from artifacts.stores.location import Location, is_url
from serving.client import Client, connect
from serving.client.predictor import Predictor
from serving.commands.batch import BATCH, Ask, ask_all, find_files, listed_files
from serving.commands.class_rows import ClassRows
from serving.commands.shards import Shard, shard_option
from serving.commands.table import Row, Table
from serving.faces.schemas import IdentifiedPicture
from serving.schemas import ModelInfo, Neighbour, RefusedPicture
from serving.settings import read_settings

STDIN = Path("-")
SERVER = "http://127.0.0.1:3000"


def place(given: str) -> Path | Location:
    """Return the file or folder that an argument names, here or in a store.

    Raises:
        StoreError: the protocol of the URL is unknown, or needs a package that is not installed.
    """
    return Location.of(given) if is_url(given) else Path(given)


files_argument = click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=place)
out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this .csv, .jsonl or .parquet file, going on with an earlier run; otherwise CSV "
    "to stdout.",
)
key_option = click.option(
    "--key",
    default=lambda: read_settings().key,
    help="API key; safer in the variable VITRINE_KEY, because process lists show arguments.",
)
top_option = click.option("--top", type=click.IntRange(min=1), default=5, show_default=True)


def face_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all commands about faces have."""
    options = (
        click.option("--url", default=SERVER, show_default=True, help="Address of the server."),
        key_option,
        click.option("--aligned", is_flag=True, help="Each picture is the aligned crop of a face."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@files_argument
@click.option("--model", metavar="NAME", help="The classifier; needed if there are several.")
@click.option(
    "--url", help="Address of a server; without it, the artifact is opened in this process."
)
@key_option
@top_option
@click.option(
    "--keep", type=float, help="Share of known pictures that get the verdict known; 0.95."
)
@click.option(
    "--coverage", type=float, help="Add the set of classes that holds the truth so often."
)
@shard_option
@out_option
def classify(
    paths: tuple[Path | Location, ...],
    model: str | None,
    url: str | None,
    key: str | None,
    top: int,
    keep: float | None,
    coverage: float | None,
    shard: Shard | None,
    out: Path | None,
) -> None:
    """Name the most probable classes of pictures, given as files, folders, or URLs of them.

    `-` reads further paths from stdin, one a line, or ended by NUL as `find -print0` writes them.
    A picture that is refused gets a row, with the reason in the column `problem`.
    Of a multi-label model, the column `labels` names all classes that are present, joined by `|`.
    If the model gives verdicts, the column `verdict` is `known` or `cannot_say`. With --coverage,
    the column `set` names the classes of the set, joined by `|`.
    """
    predictor = connect(url, key)
    info = _classifier(predictor, model)
    ask = ClassRows(predictor, info, top, keep, coverage)
    table = Table(ask.columns, out, sys.stdout, info.hash)
    _ask_all(paths, table, ask, shard=shard, server=url is not None)


@click.command()
@files_argument
@click.option("--model", metavar="NAME", required=True, help="The model that compares.")
@click.option(
    "--index", metavar="INDEX", help="The index to search; the model's atlas, or only index."
)
@click.option(
    "--url", help="Address of a server; without it, the artifact is opened in this process."
)
@key_option
@top_option
@shard_option
@out_option
def neighbours(
    paths: tuple[Path | Location, ...],
    model: str,
    index: str | None,
    url: str | None,
    key: str | None,
    top: int,
    shard: Shard | None,
    out: Path | None,
) -> None:
    """Find the pictures of an index (see `vitrine index`) or an atlas that are like given ones.

    The column `neighbour_1` names the nearest picture by its path in the index, or by its number in
    the atlas. `similarity_1` is the cosine of the angle between the features (index), and
    `distance_1` their Euclidean distance (atlas).
    """
    predictor = connect(url, key)
    info = predictor.model_info(model)
    names = ("neighbour", "label", "similarity", "distance")
    found = [f"{name}_{rank}" for rank in range(1, top + 1) for name in names]
    columns = ["path", *found, "index", "model", "hash", "problem"]

    def ask(contents: Sequence[bytes]) -> list[Row]:
        answer = predictor.neighbours_each(info.name, contents, top, index)
        about = {"index": answer.index or "", "model": answer.model.name, "hash": answer.model.hash}
        return [
            {"problem": picture.problem.reason}
            if isinstance(picture, RefusedPicture)
            else about | _columns(picture.nearest)
            for picture in answer.pictures
        ]

    table = Table(columns, out, sys.stdout, info.hash)
    _ask_all(paths, table, ask, shard=shard, server=url is not None)


def _columns(nearest: Sequence[Neighbour]) -> Row:
    row: Row = {}
    for each in nearest:
        row[f"neighbour_{each.rank}"] = each.number if each.path is None else each.path
        row[f"label_{each.rank}"] = each.label
        row[f"similarity_{each.rank}"] = _rounded(each.similarity)
        row[f"distance_{each.rank}"] = _rounded(each.distance)
    return row


def _rounded(number: float | None) -> float | str:
    return "" if number is None else round(number, 6)


@click.command()
@files_argument
@face_options
@click.option(
    "--fmr", type=float, help="Target false-match rate; the model must have a threshold for it."
)
@top_option
@shard_option
@out_option
def identify(
    paths: tuple[Path | Location, ...],
    url: str,
    key: str | None,
    aligned: bool,
    fmr: float | None,
    top: int,
    shard: Shard | None,
    out: Path | None,
) -> None:
    """Name the enrolled people who are nearest to the faces on pictures."""
    columns = ["path", "result", "reason", "person", "distance", "within", "others", "problem"]
    with Client(url, key) as client:

        def ask(contents: Sequence[bytes]) -> list[Row]:
            answer = client.identify_each(contents, aligned=aligned, fmr=fmr, top=top)
            return [
                {"problem": picture.problem.reason}
                if isinstance(picture, RefusedPicture)
                else _person(picture.faces[0])
                for picture in answer.pictures
            ]

        _ask_all(paths, Table(columns, out, sys.stdout), ask, shard=shard, server=True)


def _person(face: IdentifiedPicture) -> Row:
    row: Row = {"result": face.result, "reason": face.reason or ""}
    if face.people:
        nearest, *others = face.people
        row |= nearest.model_dump(include={"person", "distance", "within"})
        row["others"] = "; ".join(f"{c.person} {c.distance:.4f}" for c in others)
    return row


@click.command()
@click.argument("person")
@files_argument
@face_options
@out_option
def enrol(
    person: str,
    paths: tuple[Path | Location, ...],
    url: str,
    key: str | None,
    aligned: bool,
    out: Path | None,
) -> None:
    """Enrol PERSON from pictures, one by one.

    Pictures that the same command enrolled within the last 24 hours are not enrolled twice.
    """
    columns = ["path", "person", "picture", "change", "replayed", "problem"]
    with Client(url, key) as client:

        def ask(contents: Sequence[bytes]) -> list[Row]:
            digest = hashlib.sha256(f"{person}\n{aligned}\n".encode() + contents[0]).hexdigest()
            done = client.enrol(person, contents, aligned=aligned, idempotency_key=digest)
            given = done.model_dump(include={"person", "change", "replayed"})
            return [given | {"picture": done.pictures[0]}]

        _ask_all(paths, Table(columns, out, sys.stdout), ask, batch=1)


@click.command()
@click.argument("first", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@face_options
@click.option(
    "--fmr", type=float, help="Target false-match rate; the model must have a threshold for it."
)
@json_option
def verify(
    first: Path,
    second: Path,
    url: str,
    key: str | None,
    aligned: bool,
    fmr: float | None,
    as_json: bool,
) -> None:
    """Say whether two pictures show the same person."""
    with Client(url, key) as client:
        answer = client.verify(first.read_bytes(), second.read_bytes(), aligned=aligned, fmr=fmr)
    if as_json:
        print_json(answer.model_dump(mode="json"))
        return
    parts = [answer.result.replace("_", " ")]
    if answer.reason is not None:
        parts.append(answer.reason)
    if answer.distance is not None and answer.threshold is not None:
        parts.append(
            f"distance {answer.distance:.4f}, a match is up to {answer.threshold.distance:.4f} "
            f"(false-match rate {answer.threshold.target_fmr:g})"
        )
    click.echo(": ".join(parts))


def _classifier(predictor: Predictor, name: str | None) -> ModelInfo:
    if name is not None:
        return predictor.model_info(name)
    found = [model for model in predictor.models() if model.task != "embedding"]
    if len(found) == 1:
        return found[0]
    names = ", ".join(model.name for model in found) or "none"
    raise click.UsageError(f"choose a classifier with --model; there are: {names}.")


def _ask_all(
    paths: Sequence[Path | Location],
    table: Table,
    ask: Ask,
    batch: int = BATCH,
    shard: Shard | None = None,
    *,
    server: bool = False,
) -> None:
    """Ask about all files, or those of a shard, and report progress on stderr.

    A `server` is asked about the next batch while the rows of one are written. Two batches are then
    in memory, which are therefore half as large.

    Raises:
        VitrineError: the table holds rows of another shard.
        ClickException: pictures were refused.
    """
    given = [path for path in paths if path != STDIN]
    listed: list[Path] = []
    if len(given) < len(paths):
        with click.open_file("-", encoding="utf-8", errors="surrogateescape") as stdin:
            listed = listed_files(stdin.read())
    found = find_files(given, listed)
    files = [file for file, name in found.items() if shard is None or shard.holds(name)]
    if table.done & {str(file) for file in found.keys() - files}:
        raise VitrineError(
            f"{table.out}: holds answers about pictures that are not in shard {shard}; name "
            "another file with --out."
        )
    before = sum(str(file) in table.done for file in files)
    began = time.monotonic()
    with Progress("pictures", start=before / max(len(files), 1)) as progress:

        def report(done: int) -> None:
            rate = (done - before) / max(time.monotonic() - began, 1e-9)
            note = f"{done:,} of {len(files):,}, {rate:,.0f} a second"
            progress.update(done / len(files), note)

        size, ahead = (batch // 2, 1) if server else (batch, 0)
        refused = ask_all(files, table, ask, report, size, ahead)
    table.finish()
    if table.out is not None:
        click.echo(table.out)
    if refused:
        raise click.ClickException(
            f"{refused} of {len(files)} pictures were refused; column `problem` says why."
        )
