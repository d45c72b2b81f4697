"""Each package needs what `dependencies` lists and its own extra, and nothing else."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from artifacts.commands import EXTRAS
from artifacts.distribution import DISTRIBUTION
from tests.test_imports import ROOMS, names_in

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = {"openvino", "parquet", "postgresql", "quantize", "tracing"}
"""Extras that are imported only where a user asks for what they do."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extras: set[str]) -> set[str]:
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {normal(Requirement(line).name) for line in lines}


def files(room: str) -> dict[str, Path]:
    """The modules of a package, by name."""
    found = {}
    for path in (ROOT / room).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = {name: path for room in ROOMS for name, path in files(room).items()}


def imported(path: Path) -> set[str]:
    """What a module imports when it runs: not what it names for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    return names_in(tree)


def reached(room: str) -> set[Path]:
    """The files of a package, and all files of other packages that they import."""
    waiting, seen = list(files(room).values()), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported(path):
            parts = name.split(".")
            starts = (".".join(parts[: n + 1]) for n in range(len(parts)))
            waiting += [MODULES[start] for start in starts if start in MODULES]
    return seen


@pytest.mark.parametrize("room", ROOMS)
def test_a_package_imports_what_its_extra_declares(room: str) -> None:
    own = {EXTRAS[room]} if room in EXTRAS else set()
    allowed = declared(own | OPTIONAL)
    owners = packages_distributions()
    roots = {name.split(".")[0] for path in reached(room) for name in imported(path)}
    outside = roots - set(sys.stdlib_module_names) - set(ROOMS)
    undeclared = {
        root for root in outside if not allowed & {normal(o) for o in owners.get(root, [root])}
    }
    assert not undeclared


def test_the_distribution_is_called_as_the_code_says() -> None:
    assert PROJECT["name"] == DISTRIBUTION


def test_nothing_recommends_the_other_project() -> None:
    told = re.compile(r"pip install ['\"]?vitrine(\[|['\"\s]|$)", re.MULTILINE)
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "pyproject.toml"]
    for path in [*MODULES.values(), *pages]:
        assert not told.search(path.read_text(encoding="utf-8")), path
