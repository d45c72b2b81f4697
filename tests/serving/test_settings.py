"""The settings of the server and its clients, read from the environment."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts import VitrineError
from serving.settings import Settings, list_settings, read_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5", "²"])
@pytest.mark.parametrize("name", ["VITRINE_TIMEOUT", "VITRINE_MEGAPIXELS", "VITRINE_WORKERS"])
def test_numbers_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(VitrineError) as caught:
        read_settings()
    assert str(caught.value) == f"{name}={given}: a whole number from 1 on is expected."


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("VITRINE_RUNTIME", "tensorrt", "onnxruntime or openvino is expected"),
        ("VITRINE_LOG_REQUESTS", "yes", "1 (yes) or 0 (no) is expected"),
        ("VITRINE_KEEP_PICTURES", "2", "1 (yes) or 0 (no) is expected"),
        ("VITRINE_FEEDBACK", "1", "off, labels or pictures is expected"),
        ("VITRINE_FEEDBACK_DAYS", "0", "a whole number from 1 on is expected"),
        ("VITRINE_EXACT_SEARCH", "-1", "a whole number is expected"),
        ("VITRINE_FACE_INDEX", "annoy", "faiss or pgvector is expected"),
        ("VITRINE_OPEN", "verify delete", "VITRINE_OPEN names delete"),
        ("VITRINE_CLOSED", "metrics", "VITRINE_CLOSED lists addresses"),
    ],
)
def test_other_settings_that_make_no_sense(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, message: str
) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(VitrineError, match=re.escape(message)):
        read_settings()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"VITRINE_{name.upper()}", "")
    settings = read_settings()
    assert (settings.timeout, settings.open, settings.key) == (60, (), None)


def test_lists_are_split_at_spaces_and_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_OPEN", " verify, embed\nidentify ")
    assert read_settings().open == ("verify", "embed", "identify")


def test_the_list_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"API_KEYS": "s1", "DATABASE": "postgresql://u:s2@host/x", "KEY": "s3"}
    for name, value in secrets.items():
        monkeypatch.setenv(f"VITRINE_{name}", value)
    rows = {row.name: row for row in list_settings()}
    for name in secrets:
        assert rows[f"VITRINE_{name}"][1:3] == ("(set)", "environment")
    assert rows["VITRINE_TIMEOUT"][1:3] == ("60", "default")


def test_the_command_lists_every_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving", "settings", "--json"],
        env={**os.environ, "VITRINE_TIMEOUT": "7"},
        capture_output=True,
        check=True,
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["VITRINE_TIMEOUT"]["value"] == "7"
    assert rows["VITRINE_TIMEOUT"]["source"] == "environment"
    documented = (ROOT / "docs" / "operations.md").read_text()
    for name, row in rows.items():
        assert f"`{name}`" in documented
        assert row["meaning"]


def test_serving_reads_its_variables_in_one_place() -> None:
    """Outside of `settings.py`, strings with `VITRINE_…` are only parts of messages."""
    for file in (ROOT / "serving").rglob("*.py"):
        if file.name == "settings.py" and file.parent.name == "serving":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.fullmatch(r"VITRINE_[A-Z_]+", node.value), (file, node.lineno)


def test_settings_show_no_secret_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", "https://me:secret@example.org/models?token=secret")
    assert list_settings()[0].value == "https://example.org/models"
