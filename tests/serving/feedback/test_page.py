"""The playground asks about an answer, if the server takes feedback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from serving.client import Client
from tests.browser import opened_page, running_browser
from tests.pictures import encoded, photograph
from tests.server import running_server


@pytest.fixture(scope="module")
def address(classifiers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("page") / "log"
    with running_server(classifiers, log, VITRINE_FEEDBACK="pictures") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def choose(page: Page, seed: int) -> None:
    content = encoded(photograph(40, 40, seed))
    page.set_input_files(
        "#file-image", {"name": "p.png", "mimeType": "image/png", "buffer": content}
    )


def test_what_is_right_is_sent_kept_and_erased(browser: Browser, address: str) -> None:
    with opened_page(browser, address) as page, Client(address) as client:
        expect(page.locator("#feedback")).to_be_hidden()
        choose(page, 1)
        expect(page.locator("#feedback")).to_be_visible()
        page.click("#feedback-right")
        expect(page.locator("#feedback-note")).to_contain_text("Stored as right, without")
        page.click("#feedback-wrong")
        expect(page.locator("#feedback-note")).to_contain_text("Stored as wrong")
        wrong = page.locator("#feedback-label option").nth(2).inner_text()
        page.select_option("#feedback-label", wrong)
        page.check("#feedback-keep")
        page.click("#feedback button:not([type])")
        expect(page.locator("#feedback-note")).to_contain_text(f"Stored as {wrong}, with the")
        (figures,) = client.feedback_summary().models
        assert (figures.answers, figures.correct, figures.pictures) == (1, 0, 1)
        page.click("#feedback-erase")
        expect(page.locator("#feedback-note")).to_have_text("Erased.")
        assert client.feedback_summary().models == ()
        choose(page, 2)  # another answer, about which nothing was said
        expect(page.locator("#feedback-note")).to_be_empty()
        expect(page.locator("#feedback-keep")).not_to_be_checked()


def test_several_classes_may_be_right(browser: Browser, address: str) -> None:
    with opened_page(browser, address) as page, Client(address) as client:
        page.select_option("#classifier", "several")
        choose(page, 3)
        expect(page.locator("#feedback")).to_be_visible()
        page.select_option("#feedback-label", ["red", "blue"])
        page.click("#feedback button:not([type])")
        expect(page.locator("#feedback-note")).to_contain_text("Stored as red, blue")
        page.select_option("#feedback-label", [])
        page.click("#feedback button:not([type])")
        expect(page.locator("#feedback-note")).to_contain_text("Stored as none of the classes")
        (figures,) = [e for e in client.feedback_summary().models if e.model == "several"]
        assert (figures.answers, figures.labelled) == (1, 1)


def test_without_feedback_nothing_is_asked(browser: Browser, url: str) -> None:
    with opened_page(browser, url) as page:
        choose(page, 1)
        expect(page.locator("#classes")).to_be_visible()
        expect(page.locator("#feedback")).to_be_hidden()
