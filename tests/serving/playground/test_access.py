"""The playground for everybody: what axe-core finds on each tab, in both colour schemes."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser import opened_page, picture, portrait
from tests.pictures import photograph

GRAVE = {"serious", "critical"}


def classify(page: Page) -> None:
    sent = [picture(photograph(64, 40, seed), f"{seed}.png") for seed in range(2)]
    page.set_input_files("#file-image", sent)
    page.click("#options summary")
    expect(page.locator("#batch-note")).to_contain_text("2 of 2")
    expect(page.locator("#maps canvas")).not_to_have_count(0)
    page.click("#code summary")


def verify(page: Page) -> None:
    page.set_input_files("#file-first", portrait())
    page.set_input_files("#file-second", portrait(mirrored=True))
    page.click("#compare")
    expect(page.locator(".verdict")).to_have_text("Match")
    page.click("#verify-code summary")


def gallery(page: Page) -> None:
    page.set_input_files("#file-who", portrait())
    expect(page.locator("#candidates .verdict")).not_to_have_count(0)
    page.click("#identify-code summary")


def camera(page: Page) -> None:
    page.get_by_role("button", name="Camera: Drop").click()
    expect(page.locator("#camera-take")).to_be_enabled()


def refused(page: Page) -> None:
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"junk"}
    page.set_input_files("#file-image", bad)
    expect(page.locator("#classify-problem")).to_contain_text("bad.png")


STATES = {
    "classify": ("classify", classify),
    "verify": ("verify", verify),
    "gallery": ("gallery", gallery),
    "camera": ("classify", camera),
    "refused": ("classify", refused),
}
"""What is looked at: a tab, and what brings it there."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave(browser: Browser, address: str, secret: str, scheme: str) -> None:
    with opened_page(browser, address, color_scheme=scheme) as page:
        found = [("welcome", finding) for finding in grave(page)]
        page.click("#tab-gallery")
        page.fill("#key", secret)
        page.press("#key", "Enter")
        expect(page.locator("#gallery-note")).to_contain_text("Enrolled")
        for name, (tab, bring) in STATES.items():
            page.click(f"#tab-{tab}")
            bring(page)
            found += [(name, finding) for finding in grave(page)]
            page.keyboard.press("Escape")  # closes a dialog
    assert found == []


def grave(page: Page) -> list[tuple[str, list[str]]]:
    """The rules that are broken gravely, with the places."""
    return [
        (broken["id"], [node["html"][:120] for node in broken["nodes"]])
        for broken in Axe().run(page).response["violations"]
        if broken["impact"] in GRAVE
    ]


def test_the_colours_can_be_chosen_and_are_kept(browser: Browser, address: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened_page(browser, address, color_scheme="light") as page:
        button = page.locator("#theme")
        expect(button).to_have_attribute("aria-pressed", "false")
        light = page.evaluate(paper)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(paper) != light
        page.reload()
        expect(button).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(paper) != light
        page.emulate_media(color_scheme="dark")
        button.click()
        assert page.evaluate(paper) == light
    with opened_page(browser, address, color_scheme="dark") as page:
        expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(paper) != light


def test_answers_are_said_and_the_focus_is_seen(page: Page) -> None:
    page.focus("#sample")
    page.keyboard.press("Enter")
    said = page.get_by_role("status").filter(has_text="sample.jpg: frog, ")
    expect(said).to_have_count(1)
    page.keyboard.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
