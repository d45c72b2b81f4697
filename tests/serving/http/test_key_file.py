"""Keys in a file that changes."""

import logging
from pathlib import Path

import pytest

from artifacts import VitrineError
from serving.http import key_file
from serving.http.access import Access, make_key
from serving.settings import read_settings

ADA, BOB = make_key("ada", "read")[1], make_key("bob", "read+write")[1]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of keys that is looked at each time."""
    monkeypatch.setattr(key_file, "CHECK_SECONDS", 0.0)
    monkeypatch.setenv("VITRINE_API_KEYS_FILE", str(tmp_path / "keys"))
    monkeypatch.delenv("VITRINE_API_KEYS", raising=False)
    path = tmp_path / "keys"
    path.write_text(f"# comment\n\n{ADA}  # of the door\n")
    return path


def names(access: Access) -> list[str]:
    return [key.name for key in access.keys]


def test_changes_are_noticed(file: Path) -> None:
    access = Access.from_settings(read_settings())
    assert names(access) == ["ada"]
    file.write_text(f"{ADA}\n{BOB}\n")
    assert names(access) == ["ada", "bob"]
    fresh = file.with_name("fresh")
    fresh.write_text(BOB)
    fresh.replace(file)
    assert names(access) == ["bob"]


@pytest.mark.parametrize("content", ["", "# none", "my-secret", f"{ADA} {ADA}", None])
def test_a_mistake_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    access = Access.from_settings(read_settings())
    logger = logging.getLogger("bentoml.vitrine")
    logger.addHandler(caplog.handler)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    for _ in range(3):
        assert names(access) == ["ada"]
    logger.removeHandler(caplog.handler)
    told = [r.getMessage() for r in caplog.records if "stay as they were" in r.getMessage()]
    assert len(told) >= 1
    assert "my-secret" not in caplog.text
    file.write_text(f"{BOB}\n")
    assert names(access) == ["bob"]


@pytest.mark.parametrize("content", ["", "my-secret", None])
def test_the_server_does_not_start_with_a_mistake(file: Path, content: str | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(VitrineError) as caught:
        Access.from_settings(read_settings())
    assert str(file) in str(caught.value)
    assert "my-secret" not in str(caught.value)


def test_keys_of_the_variable_are_accepted_besides(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_API_KEYS", BOB)
    access = Access.from_settings(read_settings())
    assert names(access) == ["bob", "ada"]
    file.write_text(BOB)
    assert names(access) == ["bob", "ada"]  # a name has one key only
