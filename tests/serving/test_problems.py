"""The table of refusals, the code that refuses, and the documentation say the same."""

import ast
import re
from pathlib import Path

import pytest

from serving.problems import KINDS, RequestError

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([a-z-]+)` \| (\d{3}) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def literals() -> set[str]:
    """Every string in the code of the server, the table itself left out."""
    files = set((ROOT / "serving").rglob("*.py")) - {ROOT / "serving" / "problems.py"}
    return {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_documentation_lists_every_code_and_no_other() -> None:
    listed = ROW.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))
    assert [(code, int(status), title) for code, status, title, _ in listed] == [
        (code, *kind) for code, kind in KINDS.items()
    ]
    assert all(remedy.strip() for *_, remedy in listed)


def test_every_code_is_used() -> None:
    assert set(KINDS) <= literals()


def test_no_other_code_can_be_raised() -> None:
    with pytest.raises(KeyError):
        RequestError("made-up", "a reason")


def test_every_refusal_is_a_client_or_server_error() -> None:
    assert all(400 <= kind.status < 600 for kind in KINDS.values())
