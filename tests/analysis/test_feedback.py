"""The analysis of feedback, and its section of the report."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import report
from artifacts import datasets
from serving.client import Client
from tests.analysis.conftest import Run
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server

ANSWERS = 12


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on the model `one`, whose answers were said to be right, except for every third."""
    root = tmp_path_factory.mktemp("used")
    tiny_artifact(
        root / "models", "one", classes=datasets.load("synthetic/objects", "test").classes
    )
    tiny_artifact(root / "models", "quiet")
    with running_server(root / "models", root / "log", VITRINE_FEEDBACK="labels") as address:
        with Client(address) as client:
            pictures = [encoded(photograph(32, 32, seed)) for seed in range(ANSWERS)]
            for i, picture in enumerate(client.classify("one", pictures).pictures):
                client.give_feedback(str(picture.id), verdict="right" if i % 3 else "wrong")
        yield address


def test_figures_of_the_answers_in_use(run: Run, url: str) -> None:
    done = run("feedback", "--model", "one", "--url", url, "--out", "out")
    assert done.status == 0, done.err
    with Client(url) as client:
        (found,) = client.feedback_summary().models
    assert (found.answers, found.correct) == (ANSWERS, 8)
    assert f"accuracy 0.6667 ({found.interval[0]:.4f}" in done.out
    assert f"calibration error {found.ece:.4f}" in done.out
    assert "random sample" in done.out
    with Path("out/bins.csv").open(newline="") as file:
        bins = list(csv.DictReader(file))
    assert sum(int(row["answers"]) for row in bins) == ANSWERS
    assert Path("out/feedback.png").stat().st_size > 10_000
    none = run("feedback", "--model", "quiet", "--url", url)
    assert (none.status, none.err.count("\n")) == (1, 1)
    assert "no feedback on this model" in none.err


def test_the_report_has_a_section_and_makes_it_again(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("report", "--dataset", "synthetic/objects:test", "--limit", 20, "--url", url)
    monkeypatch.setitem(report.ANALYSES, "classification", ())
    assert run(*arguments, "--model", "one").status == 0
    page = Path("reports/report/one/index.html")
    assert f"{ANSWERS} answers with feedback" in page.read_text()
    with Client(url) as client:
        picture = client.classify("one", [encoded(photograph(32, 32, 99))]).pictures[0]
        client.give_feedback(str(picture.id), verdict="right")
    assert run(*arguments, "--model", "one").status == 0
    assert f"{ANSWERS + 1} answers with feedback" in page.read_text()
