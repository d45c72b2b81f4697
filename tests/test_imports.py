"""Imports run one way: training -> artifacts <- serving <- analysis, and torch trains only."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("artifacts", "training", "serving", "analysis")
TORCH = ("torch", "torchvision", "timm")
FORBIDDEN = {
    "artifacts": ("training", "serving", "analysis", *TORCH),
    "training": ("serving", "analysis"),
    "serving": ("training", "analysis", *TORCH),
    "analysis": ("training", "bentoml", "fastapi", *TORCH),
}


def imported(file: Path) -> set[str]:
    """Full names of all modules a file imports, inside functions too."""
    return names_in(ast.parse(file.read_text(encoding="utf-8")))


def names_in(tree: ast.Module) -> set[str]:
    """Full names of all modules that a program imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


FILES = [
    file.relative_to(ROOT).as_posix()
    for room in ROOMS
    for file in sorted((ROOT / room).rglob("*.py"))
]


def test_the_rooms_are_found() -> None:
    assert set(ROOMS) == {file.split("/")[0] for file in FILES}


@pytest.mark.parametrize("file", FILES)
def test_imports_run_one_way(file: str) -> None:
    room = file.split("/", maxsplit=1)[0]
    names = imported(ROOT / file)
    roots = {name.split(".")[0] for name in names}
    assert not roots & set(FORBIDDEN[room])
    if room == "analysis":  # what it knows of serving is the client
        ours = {name for name in names if name.split(".")[0] == "serving"}
        allowed = {"client", "problems", "schemas"}
        assert {name.split(".")[1] for name in ours} <= allowed


def test_the_packages_of_serving_import_in_the_stated_order() -> None:
    """`docs/architecture.md` states the order: each package imports only what stands before it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    stated = re.search(r"^serving: (.+)$", text, re.MULTILINE)
    assert stated is not None
    order = [names.split(", ") for names in stated[1].split(" → ")]
    floor = {name: number for number, names in enumerate(order) for name in names}
    rooms = {path.stem for path in (ROOT / "serving").iterdir() if path.suffix == ".py"}
    rooms |= {path.parent.name for path in (ROOT / "serving").glob("*/__init__.py")}
    assert set(floor) == rooms - {"__init__", "__main__"}
    for file in sorted((ROOT / "serving").rglob("*.py")):
        room = file.relative_to(ROOT / "serving").parts[0].removesuffix(".py")
        for name in imported(file) if room in floor else ():
            root, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if root == "serving" and other in floor and other != room:
                assert floor[other] < floor[room], f"{file.relative_to(ROOT)} imports {name}"
