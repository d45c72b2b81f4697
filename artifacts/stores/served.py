"""The folder that a server with `VITRINE_ARTIFACTS=s3://…` serves: a copy of that store.

    python -m artifacts.stores.served [NAMES]

The server pulls in a process of its own, because its workers are forks of the one that starts them,
and the threads of the libraries of stores do not survive that.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import click

from artifacts.commands import run_command
from artifacts.distribution import artifacts_root, store_url
from artifacts.errors import ArtifactError
from artifacts.names import artifact_names, selected
from artifacts.stores.location import Location, StoreError
from artifacts.stores.pull import pull_one, stored_names

COMPLETE_FILE = "complete.json"
"""Says, in the folder of the copy, which artifacts the store held at the last pull, and when."""


def update(url: str, root: Path, wanted: tuple[str, ...]) -> str:
    """Make a folder hold what a store holds.

    If that fails, the copy of an earlier start is used as it is, provided that it is complete.

    Args:
        url: of the store.
        root: the folder, which holds nothing else.
        wanted: names of the artifacts that are pulled, see `selected`; all if it is empty.

    Returns:
        A sentence about what was done, for the log.

    Raises:
        StoreError: the store cannot be pulled, and there is no complete copy of it.
    """
    try:
        store = Location.of(url)
        stored = stored_names(store)
        names = selected(wanted, stored)
        transferred = sum(pull_one(store, name, root).transferred for name in _some(names, store))
    except (StoreError, ArtifactError, OSError) as error:
        return _use_copy(root, wanted, error)
    for name in set(artifact_names(root)) - {*stored}:
        shutil.rmtree(root / name)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    (root / COMPLETE_FILE).write_text(json.dumps({"names": stored, "time": now}))
    return f"{store.shown}: {len(names)} models, {transferred:,} bytes transferred."


def _some(names: list[str], store: Location) -> list[str]:
    if not names:
        raise StoreError(f"{store.shown}: holds none of the models that are wanted.")
    return names


def _use_copy(root: Path, wanted: tuple[str, ...], error: Exception) -> str:
    try:
        complete = json.loads((root / COMPLETE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        complete = {"names": []}
    names = selected(wanted, complete["names"])
    if not names or set(names) - {*artifact_names(root)}:
        raise StoreError(
            f"VITRINE_ARTIFACTS: {error} No complete copy of it is under {root}, so nothing can be "
            "served."
        ) from None
    time = complete["time"]
    return f"WARNING: {error} SERVING THE COPY of {time} instead, {len(names)} models."


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Pull NAMES, or all models, from the store in `VITRINE_ARTIFACTS`, and say so on stderr."""
    url = store_url()
    if url is not None:
        click.echo(update(url, artifacts_root(), names), err=True)


if __name__ == "__main__":
    run_command(main, "python -m artifacts.stores.served")
