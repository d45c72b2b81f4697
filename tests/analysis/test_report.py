import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from artifacts import datasets
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact

ARGUMENTS = ("report", "--model", "one", "--dataset", "synthetic/objects:test", "--limit", 100)
SECTIONS = [
    "confusion",
    "calibration",
    "labels",
    "sizes",
    "robustness",
    "map",
    "neighbours",
    "distances",
    "sparsity",
]


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str, attribute: str) -> list[str]:
        found = [attributes.get(attribute) for name, attributes in self.tags if name == tag]
        return [value for value in found if value is not None]


@pytest.fixture
def look(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(tmp_path / "models", "one", classes=classes)
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    return run


def test_a_page_needs_nothing_from_outside_and_goes_on_where_it_was(look: Run) -> None:
    outcome = look(*ARGUMENTS)
    assert outcome.status == 0, outcome.err
    root = Path("reports/report/one")
    page = Page((root / "index.html").read_text())
    assert page.all("section", "id") == SECTIONS
    assert [link for link in page.all("a", "href") if link.startswith("#")] == [
        f"#{name}" for name in SECTIONS
    ]
    pictures = page.all("img", "src")
    assert len(pictures) >= len(SECTIONS)
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    assert not page.all("link", "href") + page.all("script", "src")
    tables = [link for link in page.all("a", "href") if not link.startswith("#")]
    assert tables
    assert all((root / link).is_file() for link in tables)
    command = json.loads((root / "sparsity" / "sparsity.json").read_text())["command"]
    assert command.startswith("python -m analysis sparsity --model one --dataset synthetic/objects")

    kept = {path: path.stat().st_mtime_ns for path in root.glob("*/*")}
    (root / "map" / "map.json").unlink()  # as if it had been interrupted there
    assert look(*ARGUMENTS).status == 0
    made = {path.parent.name for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert made == {"map"}


def test_what_cannot_be_made_is_said_and_the_rest_is_made(look: Run) -> None:
    outcome = look(*ARGUMENTS[:-1], 12)
    assert outcome.status == 0
    assert "map could not be made: 12 pictures are too few for perplexity 30" in outcome.err
    page = Path("reports/report/one/index.html").read_text()
    assert "Could not be made: 12 pictures are too few" in page


def test_an_unknown_model_is_one_line(look: Run) -> None:
    outcome = look("report", "--model", "nobody", *ARGUMENTS[3:])
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
