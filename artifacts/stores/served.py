"""The folder that a server with `VITRINE_ARTIFACTS=s3://…` serves: a copy of that store."""

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from artifacts.artifact import artifact_names
from artifacts.errors import ArtifactError
from artifacts.stores.location import Location, StoreError
from artifacts.stores.pull import pull_one, stored_names

COMPLETE_FILE = "complete.json"
"""Says, in the folder of the copy, which artifacts the store held at the last pull, and when."""


def update(url: str, root: Path, choose: Callable[[Sequence[str]], Sequence[str]]) -> str:
    """Make a folder hold what a store holds.

    If that fails, the copy of an earlier start is used as it is, provided that it is complete.

    Args:
        url: of the store.
        root: the folder, which holds nothing else.
        choose: returns those names of artifacts that are wanted.

    Returns:
        A sentence about what was done, for the log.

    Raises:
        StoreError: the store cannot be pulled, and there is no complete copy of it.
    """
    try:
        store = Location.of(url)
        stored = stored_names(store)
        names = choose(stored)
        transferred = sum(pull_one(store, name, root).transferred for name in _some(names, store))
    except (StoreError, ArtifactError, OSError) as error:
        return _use_copy(root, choose, error)
    for name in set(artifact_names(root)) - {*stored}:
        shutil.rmtree(root / name)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    (root / COMPLETE_FILE).write_text(json.dumps({"names": stored, "time": now}))
    return f"{store.shown}: {len(names)} models, {transferred:,} bytes transferred."


def _some(names: Sequence[str], store: Location) -> Sequence[str]:
    if not names:
        raise StoreError(f"{store.shown}: holds none of the models that are wanted.")
    return names


def _use_copy(
    root: Path, choose: Callable[[Sequence[str]], Sequence[str]], error: Exception
) -> str:
    try:
        complete = json.loads((root / COMPLETE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        complete = {"names": []}
    names = choose(complete["names"])
    if not names or set(names) - {*artifact_names(root)}:
        raise StoreError(
            f"VITRINE_ARTIFACTS: {error} No complete copy of it is under {root}, so nothing can be "
            "served."
        ) from None
    time = complete["time"]
    return f"WARNING: {error} SERVING THE COPY of {time} instead, {len(names)} models."
