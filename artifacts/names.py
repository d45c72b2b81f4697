"""The names of artifacts: which there are, which version a name refers to, and which are wanted.

It imports little, because the process that starts a server's workers uses it.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from artifacts.distribution import artifacts_root

MANIFEST_FILE = "manifest.json"


def artifact_names(root: Path | None = None) -> list[str]:
    """Return the sorted names of the artifacts under `root`, none if the folder is missing."""
    root = root or artifacts_root()
    return sorted(path.parent.name for path in root.glob(f"[!.]*/{MANIFEST_FILE}"))


def default_version(name: str, names: Iterable[str]) -> str:
    """Return the one of `names` that `name` refers to: the name itself, or its latest version.

    If neither exists, `name` is returned. Versions are ordered by their text, but numbers in it by
    value: NAME@9 comes before NAME@10.
    """

    def order(version: str) -> list[str | int]:
        parts = re.split(r"(\d+)", version)  # every second part is a number
        return [int(part) if part.isdecimal() else part for part in parts]

    known = set(names)
    versions = [other for other in known if other.startswith(f"{name}@")]
    return name if name in known else max(versions, key=order, default=name)


def selected(wanted: tuple[str, ...], names: Sequence[str]) -> list[str]:
    """Return those of the artifacts' `names` that are wanted: all of them if none is named.

    A name without a version stands for all versions of the model.
    """
    return [name for name in names if not wanted or {name, name.split("@")[0]} & {*wanted}]
