"""A real browser without a window, for the tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from tests.pictures import encoded, portrait_photograph

PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
PATIENCE = 60_000  # ms; long, because test machines are busy
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""A camera that shows a moving pattern, which pages may use without asking."""


def picture(image: Image.Image, name: str = "picture.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": encoded(image)}


def portrait(*, mirrored: bool = False) -> FilePayload:
    image = portrait_photograph()
    return picture(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run the distribution's Chromium; the test is skipped if it is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium here; `apt-get install chromium` to run this")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CAMERA)
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: Browser, address: str, **settings: object) -> Iterator[Page]:
    """Open a page; it may use no other server and log no error except for refused requests.

    The address may have a fragment, such as `#verify`.
    """
    server = address.partition("/#")[0]
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
        assert {url for url in asked if not url.startswith((server, f"blob:{server}"))} == set()


WIDTHS = (1440, 390)
"""Widths of windows in which pages must be readable: a desk's and a telephone's, in pixels."""
FAULTS = """
() => {
  const faults = [], figures = [...document.querySelectorAll('figure')];
  if (document.documentElement.scrollWidth > innerWidth) faults.push('the page scrolls sideways');
  for (const image of document.images)
    if (!image.alt || !image.naturalWidth) faults.push(`an image without words: ${image.alt}`);
  figures.forEach((figure, number) => {
    const need = (there, what) => there || faults.push(`figure ${number} has no ${what}`);
    const caption = figure.querySelector('figcaption')?.innerText ?? '';
    const image = figure.querySelector('img'), svg = figure.querySelector('svg[role=img]');
    const words = image?.alt ?? svg?.getAttribute('aria-label') ?? '';
    need(/[a-z]/i.test(words), 'description');
    need(figure.querySelector('figcaption code'), 'command');
    need(/\\d pictures?|\\d test pictures?/.test(caption), 'number of pictures');
    need(image ? caption.length > 20 : svg.querySelector('.title'), 'title');
    need(image ? / against |with captions/.test(words) : svg.querySelectorAll('.axis').length > 1,
         'names of axes');
  });
  return { figures: figures.length, faults };
}
"""


def faults_of_figures(browser: Browser, address: str) -> tuple[int, list[str]]:
    """Open a page of a report at both widths; return its number of figures and what is wrong.

    It must load nothing but itself, show no error, not scroll sideways, and each figure must have
    a title, names of axes, a caption with command and number of pictures, and a description.
    """
    number, faults = 0, []
    for width in WIDTHS:
        number, found = _faults_at(browser, address, width)
        faults += [f"{fault} at {width} pixels" for fault in found]
    return number, faults


def _faults_at(browser: Browser, address: str, width: int) -> tuple[int, list[str]]:
    asked: list[str] = []
    errors: list[str] = []
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        found = page.evaluate(FAULTS)
    strange = [f"asked for {url}" for url in asked if url != address and url[:5] != "data:"]
    return found["figures"], [*found["faults"], *errors, *strange]
