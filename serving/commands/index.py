"""`vitrine index`: embeds a folder of pictures, and keeps the index up to date."""

import hashlib
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np

from artifacts import ArtifactError, VitrineError, artifacts_root
from artifacts.distribution import check_writable
from artifacts.manifest import NAME_PATTERN
from artifacts.progress import Progress
from artifacts.stores.location import Location
from serving.client import connect
from serving.commands.ask import key_option, place
from serving.commands.indexing import Contents, Known, add_known, embed_new, find_pictures
from serving.indexes.manifest import IndexManifest, index_names, indexes_of, read_manifest
from serving.indexes.partial import Partial
from serving.indexes.search import Floats
from serving.indexes.stored import SKIPPED_FILE, IndexedPicture, StoredIndex, save_index
from serving.schemas import ModelInfo

LISTED = 20
"""Maximum number of skipped files that are printed; a file in the index lists all of them."""


@click.command()
@click.argument("source", metavar="FOLDER", type=place)
@click.option("--model", metavar="NAME", required=True, help="Model whose embeddings are compared.")
@click.option("--name", metavar="INDEX", help="Name of the index; that of the folder by default.")
@click.option("--labels", is_flag=True, help="The folder that a picture lies in is its label.")
@click.option(
    "--url", help="Address of a server that embeds; without it, the artifact is opened here."
)
@key_option
def index(
    source: Path | Location,
    model: str,
    name: str | None,
    labels: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Index the pictures below FOLDER, so that `neighbours` finds the ones like a given picture.

    FOLDER may also be the URL of one in a store, such as s3://BUCKET/FOLDER, or a table (.csv,
    .tsv, .jsonl or .parquet) with a column `path`, and perhaps `label`. Only new and changed
    pictures are embedded if the index exists; an interrupted run is resumed. Servers show the paths
    below FOLDER to their callers.
    """
    check_writable(artifacts_root())
    predictor = connect(url, key)
    wanted = _wanted(source, predictor.model_info(model), name, labels=labels)
    old = _existing(wanted)
    same_model = old is not None and _model_of(old.manifest) == _model_of(wanted)
    partial = Partial(indexes_of(wanted.model), wanted.name, _model_of(wanted))
    before = {} if old is None else {row.path: row for row in old.pictures()}

    def earlier() -> Iterator[tuple[list[IndexedPicture], Floats]]:
        if old is not None and same_model:
            yield list(before.values()), old.vectors.vectors()
        yield from partial.read()

    contents = Contents()
    found = find_pictures(source, contents, labels=labels)
    new = add_known(found, Known(earlier()), contents)
    known = len(contents.rows)
    with Progress("embedding pictures") as progress:
        embed_new(
            new,
            contents,
            lambda files: predictor.features(wanted.model, files),
            partial,
            lambda done: progress.update(done / len(new), f"{done:,} of {len(new):,}"),
        )
    if not contents.rows:
        raise VitrineError(f"{wanted.source}: no picture could be read; {_first_problem(contents)}")
    rows = [contents.rows[path] for path in sorted(contents.rows)]
    pictures = [picture for picture, _ in rows]
    unchanged = old is not None and same_model and pictures == [*before.values()]
    if old is not None and unchanged and contents.skipped == old.skipped():
        click.echo(f"nothing has changed: {len(rows):,} pictures in the index {wanted.name!r}.")
    else:
        vectors = np.stack([vector for _, vector in rows])
        saved = save_index(wanted, pictures, vectors, contents.skipped)
        removed = len(before.keys() - contents.rows.keys())
        click.echo(_summary(saved.manifest, len(rows) - known, known, removed))
    partial.remove()
    _list_skipped(contents, indexes_of(wanted.model) / wanted.name / SKIPPED_FILE)


def _model_of(index: IndexManifest) -> str:
    """Return a digest of what determines the embeddings: the graph and its input policy."""
    return hashlib.sha256(f"{index.hash}{index.input.model_dump_json()}".encode()).hexdigest()[:16]


def _wanted(
    source: Path | Location, info: ModelInfo, name: str | None, *, labels: bool
) -> IndexManifest:
    """Return the manifest of the index that is to be made.

    Raises:
        VitrineError: there is no such folder here.
    """
    if isinstance(source, Location):
        stem, given, full = source.name, source.shown, source.shown
    elif source.exists():
        path = source.resolve()
        stem, given, full = path.stem if path.is_file() else path.name, str(source), str(path)
    else:
        raise VitrineError(f"{source}: no such file or folder.")
    if name is None:
        name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]
    if not re.fullmatch(NAME_PATTERN, name):
        raise click.UsageError(
            f"{name!r} cannot be the name of an index; --name takes 1 to 64 of a-z, 0-9, '.', '_' "
            "and '-', the first a letter or a digit."
        )
    words = ["vitrine", "index", given, "--model", info.name, "--name", name]
    return IndexManifest(
        name=name,
        model=info.name,
        hash=info.hash,
        input=info.input,
        source=full,
        created=datetime.now(UTC),
        command=shlex.join([*words, *(["--labels"] if labels else [])]),
    )


def _existing(wanted: IndexManifest) -> StoredIndex | None:
    """Return the index of this name, or None if there is none or it cannot be read.

    Raises:
        VitrineError: it is of another folder.
    """
    if wanted.name not in index_names(wanted.model):
        return None
    path = indexes_of(wanted.model) / wanted.name
    try:
        source = read_manifest(path).source
        if source != wanted.source:
            raise VitrineError(
                f"the index {wanted.name!r} of {wanted.model} is of {source}; choose another name "
                f"with --name, or remove {path}."
            )
        return StoredIndex.open(path)
    except ArtifactError as error:
        click.echo(f"warning: {error} All pictures are embedded again.", err=True)
        return None


def _summary(made: IndexManifest, embedded: int, kept: int, removed: int) -> str:
    search = "exact" if made.recall is None else f"approximate, recall {made.recall:.3f}"
    return (
        f"{made.pictures:,} pictures in the index {made.name!r} of {made.model}: {embedded:,} "
        f"embedded, {kept:,} known before, {removed:,} removed ({search} search). "
        "A running server reads it within seconds."
    )


def _list_skipped(contents: Contents, file: Path) -> None:
    skipped = sorted(contents.skipped.items())
    if not skipped:
        return
    click.echo(f"skipped {len(skipped):,} files, which {file} lists:", err=True)
    for path, problem in skipped[:LISTED]:
        click.echo(f"  {path}: {problem}", err=True)


def _first_problem(contents: Contents) -> str:
    return next((f"{path}: {problem}" for path, problem in contents.skipped.items()), "")
