"""The page about own pictures: complete, self-contained, small, and readable in a browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from artifacts import VitrineError
from tests.browser import faults_of_figures, running_browser
from tests.pictures import photograph
from training.pictures.page import percent, write_page
from training.pictures.results import Candidate, Results, Rows

STRANGE = ("<b>cat</b>", 'dog "big" & wide', "Größe 模型", "{{ 7 * 7 }}")


def rows(root: Path, number: int, classes: int, seed: int, *, multilabel: bool = False) -> Rows:
    """Answers to pictures; only the first forty exist as files."""
    generator = np.random.default_rng(seed)
    paths = tuple(Path(f"{i % classes}/<{seed}> {i} ü.png") for i in range(number))
    for i, path in enumerate(paths[:40]):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        photograph(60 + i, 48, i).save(root / path)
    if multilabel:
        probabilities = generator.random((number, classes))
        labels = (generator.random((number, classes)) < probabilities).astype(np.int64)
    else:
        labels = np.arange(number) % classes
        odds = generator.random((number, classes)) ** 3
        odds[np.arange(number), labels] += 0.8
        probabilities = odds / odds.sum(axis=1, keepdims=True)
    return Rows(paths, labels, probabilities, generator.integers(40, 900, (number, 2)))


def results(root: Path, number: int, classes: tuple[str, ...], **others: object) -> Results:
    multilabel = bool(others.get("thresholds"))
    test = rows(root, number, len(classes), 0, multilabel=multilabel)
    fields: dict[str, object] = {
        "name": "mine <script>alert(1)</script>",
        "command": "vitrine train 'my pictures' --name mine",
        "seed": 7,
        "hardware": "two cores",
        "seconds": 610.0,
        "classes": classes,
        "root": root,
        "training_counts": tuple(range(10, 10 + len(classes))),
        "test": test,
        "validation": rows(root, max(10, number // 2), len(classes), 1, multilabel=multilabel),
        "findings": ("The largest class has <3> times as many pictures.",),
        "unreadable": ((Path("a/broken & lost.jpg"), "truncated <file>"),),
        "duplicates": (test.paths[:2], test.paths[2:9]),
        "candidates": (
            Candidate("head", 12.5, 0.9, chosen=False),
            Candidate("blocks", 300.0, 0.95, chosen=True),
        ),
    }
    return Results(**{**fields, **others})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def test_names_are_escaped_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = write_page(tmp_path / "report", results(tmp_path, 60, STRANGE))
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "report" / "index.html"
    for name in ("<script", "<b>cat", "<0>", "<file>", "<3>", " 49 "):
        assert name not in text
    assert "&lt;b&gt;cat&lt;/b&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert "Größe 模型" in text
    sources = re.findall(r'(?:src|href)="([^"#]{0,30})', text)
    allowed = ("data:image/jpeg;base64,", "https://arxiv.org/")
    assert len(sources) > 10
    assert all(source.startswith(allowed) for source in sources if source)
    assert not re.search(r"@import|url\(|<link|<script|<iframe", text)


def test_everything_measured_is_on_the_page(tmp_path: Path) -> None:
    text = write_page(tmp_path / "r", results(tmp_path, 200, STRANGE)).read_text(encoding="utf-8")
    for part in (
        "of 200 test pictures",
        "balanced accuracy",
        "calibration error",
        "Measured on the 200 test pictures.",
        "class that the model answers",
        "Reliability diagram",
        "Accuracy by size",
        "The worst mistakes",
        "Training pictures were not searched",
        "2 groups",
        "a/broken &amp; lost.jpg",
        "vitrine train &#39;my pictures&#39; --name mine",
        "Seed 7, 10 min on two cores",
        "chosen",
    ):
        assert part in text, part


def test_out_of_sample_training_pictures_are_searched_for_wrong_labels(tmp_path: Path) -> None:
    training = rows(tmp_path, 90, 4, 2)
    training.labels[::10] = (training.labels[::10] + 1) % 4
    given = results(tmp_path, 60, STRANGE, training=training)
    text = write_page(tmp_path / "r", given).read_text(encoding="utf-8")
    assert "90 training pictures, with the probabilities of models" in text
    assert "training: " in text


def test_several_labels_have_their_own_figures(tmp_path: Path) -> None:
    given = results(tmp_path, 80, STRANGE, thresholds=(0.5, 0.4, 0.6, 0.5))
    text = write_page(tmp_path / "r", given).read_text(encoding="utf-8")
    assert "mean average precision" in text
    assert "What is taken for what" not in text
    assert re.search("missed|wrongly given", text)
    assert "not &lt;b&gt;cat&lt;/b&gt;" in text


def test_a_page_of_many_pictures_and_classes_is_small(tmp_path: Path) -> None:
    classes = tuple(f"a rather long name of class {i}" for i in range(200))
    page = write_page(tmp_path / "r", results(tmp_path, 20_000, classes))
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 3_000_000
    assert "The most frequent confusions of the 200 classes." in text
    assert "170 more classes" in text
    assert "not readable" in text  # most of these files do not exist


@pytest.mark.parametrize("number", [1, 4])
def test_a_page_of_few_pictures_is_written(tmp_path: Path, number: int) -> None:
    given = results(tmp_path, number, ("one", "two"), duplicates=(), unreadable=(), findings=())
    text = write_page(tmp_path / "r", given).read_text(encoding="utf-8")
    assert f"of {number} test picture" in text
    assert "nan" not in re.sub('base64[^"]+', "", text).lower()


def test_a_name_that_is_not_unicode_is_shown(tmp_path: Path) -> None:
    name = Path(b"\xe9t\xe9.jpg".decode("utf-8", "surrogateescape"))
    given = results(tmp_path, 20, STRANGE, unreadable=((name, "damaged"),))
    assert "\ufffdt\ufffd.jpg" in write_page(tmp_path / "r", given).read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VitrineError, match="choose another folder"):
        write_page(tmp_path / "file" / "report", results(tmp_path, 20, STRANGE))


def test_only_none_and_all_are_shown_as_such() -> None:
    shown = [percent(value).replace("\xa0", " ") for value in (0, 1e-6, 0.5, 1 - 1e-6, 1)]
    assert shown == ["0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]
    assert percent(float("nan")) == "\N{EN DASH}"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_screen(
    tmp_path: Path, browser: Browser, width: int, scheme: str
) -> None:
    classes = tuple(f"class_{i}_with_a_long_name_without_spaces" for i in range(20))
    page = write_page(tmp_path / "r", results(tmp_path, 300, classes))
    with browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=False
    ) as context:
        tab = context.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        broken = tab.locator("img").evaluate_all("all => all.filter(i => !i.naturalWidth).length")
        assert broken == 0
        size = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert size[0] <= size[1]


def test_every_figure_says_what_it_shows(tmp_path: Path, browser: Browser) -> None:
    page = write_page(tmp_path / "r", results(tmp_path, 200, STRANGE))
    assert faults_of_figures(browser, page.resolve().as_uri()) == (2, [])
