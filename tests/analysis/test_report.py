import json
import zlib
from html.parser import HTMLParser
from pathlib import Path

import onnx
from onnx import numpy_helper

from artifacts import Artifact, datasets
from tests.analysis.conftest import ARGUMENTS, Run
from tests.graphs import dataset_record, tiny_artifact

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
    """The parts of a page that are tested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str, attribute: str) -> list[str]:
        found = [attributes.get(attribute) for name, attributes in self.tags if name == tag]
        return [value for value in found if value is not None]


def test_a_page_needs_nothing_from_outside_and_goes_on_where_it_was(reported: Run) -> None:
    root = Path("reports/report/one")
    page = Page((root / "index.html").read_text())
    assert page.all("section", "id") == SECTIONS
    assert [link for link in page.all("a", "href") if link.startswith("#")] == [
        f"#{name}" for name in SECTIONS
    ]
    pictures = page.all("img", "src")
    assert len(pictures) >= len(SECTIONS)
    assert all(source.startswith("data:image/avif;base64,") for source in pictures)
    assert not page.all("link", "href") + page.all("script", "src")
    files = [link for link in page.all("a", "href") if not link.startswith("#")]
    assert {Path(link).suffix for link in files} == {".csv", ".html", ".png"}
    assert all((root / link).is_file() for link in files)
    command = json.loads((root / "sparsity" / "sparsity.json").read_text())["command"]
    assert command.startswith("python -m analysis sparsity --model one --dataset synthetic/objects")

    kept = {path: path.stat().st_mtime_ns for path in root.glob("*/*")}
    (root / "map" / "map.json").unlink()  # as if the run had been interrupted there
    assert reported(*ARGUMENTS).status == 0
    made = {path.parent.name for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert made == {"map"}  # all answers were stored, none is new


def test_a_model_that_was_trained_again_is_looked_into_again(reported: Run) -> None:
    root = Path("reports/report/one")
    (root / "labels" / "old.png").write_bytes((root / "labels" / "labels.png").read_bytes())
    (root / "sparsity" / "sparsity.json").write_text('{"cut sho')
    before = (root / "confusion" / "matrix.csv").read_text()
    artifact = Artifact.open("one")
    again = artifact.rewrite(artifact.manifest, {"model.onnx": other_weights(artifact)})
    assert again.hash != artifact.hash
    assert reported(*ARGUMENTS).status == 0
    assert (root / "confusion" / "matrix.csv").read_text() != before
    assert not (root / "labels" / "old.png").exists()
    for name in SECTIONS:
        about = json.loads((root / name / f"{name}.json").read_text())
        assert about["models"][0]["hash"] == again.hash


def other_weights(artifact: Artifact) -> bytes:
    """The artifact's graph with the weights of its last layer reversed."""
    model = onnx.load(artifact.model_path)
    head = max(model.graph.initializer, key=lambda tensor: 10 in tensor.dims)
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), head.name))
    return model.SerializeToString()


def test_all_models_are_shown_what_they_were_trained_for(look: Run, tmp_path: Path) -> None:
    record = dataset_record("synthetic/objects", synthetic=True)
    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(tmp_path / "models", "two", classes=classes, dataset=record)
    outcome = look("report", "--limit", 30, "--pages", "pages")
    assert outcome.status == 0, outcome.err
    assert "one does not say what it was trained on" in outcome.err
    assert [path.name for path in Path("pages").iterdir()] == ["two.html"]
    assert "--dataset synthetic/objects:test" in Path("pages/two.html").read_text()


def test_what_cannot_be_made_is_said_and_the_rest_is_made(look: Run) -> None:
    outcome = look(*ARGUMENTS[:-1], 9)
    assert outcome.status == 0
    assert "neighbours failed: 9 pictures are too few for 10 neighbours" in outcome.err
    page = Path("reports/report/one/index.html").read_text()
    assert "This analysis failed: 9 pictures are too few" in page
    mapped = json.loads(Path("reports/report/one/map/map.json").read_text())
    assert mapped["settings"]["perplexity"] == 2  # a third of the pictures


def test_answers_that_were_kept_are_not_asked_again(look: Run, tmp_path: Path) -> None:
    arguments = ("--model", "one", *ARGUMENTS[3:], "--answers", "answers")
    for analysis in ("confusion", "calibration", "neighbours"):
        assert look(analysis, *arguments, "--out", analysis).status == 0
    assert look("confusion", *arguments[:-2], "--out", "plain").status == 0
    rows = [Path(folder, "confusion.csv").read_text() for folder in ("confusion", "plain")]
    assert rows[0] == rows[1]
    kept = list(Path("answers").iterdir())
    assert len(kept) == 2  # the classes once, the features once

    classes = datasets.load("synthetic/objects", "test").classes
    tiny_artifact(tmp_path / "models", "one", classes=classes, temperature=3.0)
    assert look("calibration", *arguments, "--out", "warmer").status == 0
    assert len(list(Path("answers").iterdir())) == 3  # of another temperature, other answers
    turned = tiny_artifact(tmp_path / "models", "one", classes=classes[::-1], temperature=3.0)
    assert look("confusion", *arguments, "--out", "turned").status == 0
    assert len(list(Path("answers").iterdir())) == 4  # the same graph with its classes renamed
    assert look("confusion", *arguments[:-2], "--out", "alone").status == 0
    rows = [Path(folder, "confusion.csv").read_text() for folder in ("turned", "alone")]
    assert rows[0] == rows[1]
    assert turned.hash == Artifact.open("one").hash

    for damage in (b"damaged", zlib.compress(b'{"of another": "version"}')):
        for path in Path("answers").iterdir():
            path.write_bytes(damage)
        outcome = look("confusion", *arguments, "--out", "again")
        assert (outcome.status, outcome.err.count("\n")) == (1, 1)
        assert "not a cached answer" in outcome.err


def test_an_unknown_model_is_one_line(look: Run) -> None:
    outcome = look("report", "--model", "nobody", *ARGUMENTS[3:])
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
