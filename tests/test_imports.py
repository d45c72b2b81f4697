"""Imports run one way: training -> artifacts <- serving <- analysis, and torch trains only."""

import ast
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
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
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
        allowed = {"client", "chunks", "problems", "schemas"}
        assert {name.split(".")[1] for name in ours} <= allowed
