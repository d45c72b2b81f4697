"""A real browser without a window, for the tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PATIENCE = 60_000  # ms; long, because test machines are busy
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run the distribution's Chromium; the test is skipped if it is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium here; `apt-get install chromium` to run this")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: Browser, address: str, **settings: object) -> Iterator[Page]:
    """Open a page; it may use no other server and log no error except for refused requests."""
    with browser.new_context(**settings) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        errors: list[str] = []
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        yield page
        strange = [error for error in errors if "the server responded with a status" not in error]
        assert not strange
        assert {url for url in asked if not url.startswith((address, f"blob:{address}"))} == set()
