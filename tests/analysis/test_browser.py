"""Pages in a real browser show what they should and use no network."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from tests.analysis.conftest import Run
from tests.browser import faults_of_figures, running_browser

BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    "",
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium here to open pages in")

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=800,600", "--virtual-time-budget=3000", "--enable-logging=stderr"),
)
BROWSERS_OWN = "not an origin"
"""Initiator, in the browser's log, of what it asks for itself, such as updates."""


class Opened(NamedTuple):
    said: Any
    """What the script said."""
    asked: list[str]
    """Addresses that the page asked the network for."""
    complaints: list[str]
    """What the page logged: errors of its scripts among it."""


def open_page(page: Path, script: str, folder: Path) -> Opened:
    """Open a page, run `script` after it has loaded, and return what it passes to `say`."""
    copy = page.with_name("opened.html")
    say = "const say = v => { document.title = 'said:' + encodeURIComponent(JSON.stringify(v)); };"
    ending = f"<script>{say} addEventListener('load', () => {{ {script} }});</script></body>"
    copy.write_text(page.read_text().replace("</body>", ending))
    log = folder / "net.json"
    done = subprocess.run(
        [
            *(BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"),
            *("--dump-dom", copy.resolve().as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    said = re.search(r"<title>said:(.*?)</title>", done.stdout)
    assert said, done.stdout[:2000]
    asked = []
    for event in json.loads(log.read_text())["events"]:
        about = event.get("params") or {}
        if "url" in about and about.get("initiator", BROWSERS_OWN) != BROWSERS_OWN:
            asked.append(about["url"])
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(json.loads(unquote(said[1])), asked, complaints)


def test_a_page_that_asks_the_network_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><body><img src="http://example.test/a.png"></body>')
    opened = open_page(page, "say(document.images[0].naturalWidth);", tmp_path)
    assert opened.said == 0
    assert opened.asked == ["http://example.test/a.png"]


@pytest.mark.usefixtures("reported")
def test_the_report_shows_all_its_figures(tmp_path: Path) -> None:
    opened = open_page(
        Path("pages/one.html"),
        """
        say({
            figures: [...document.images].map(image => image.complete && image.naturalWidth > 300),
            links: [...document.querySelectorAll('nav a')].map(
                link => document.querySelector(link.getAttribute('href')) !== null),
            files: document.querySelectorAll('a:not([href^="#"])').length,
            sideways: document.documentElement.scrollWidth > innerWidth,
        });
        """,
        tmp_path,
    )
    assert len(opened.said["figures"]) >= 9
    assert all(opened.said["figures"])
    assert len(opened.said["links"]) == 9
    assert all(opened.said["links"])
    assert opened.said["files"] == 0
    assert not opened.said["sideways"]
    assert (opened.asked, opened.complaints) == ([], [])


def test_the_map_shows_the_picture_under_the_pointer(look: Run, tmp_path: Path) -> None:
    data = ("--dataset", "synthetic/objects:test", "--limit", 40)
    outcome = look("map", "--model", "one", *data, "--out", "out")
    assert outcome.status == 0, outcome.err
    opened = open_page(
        Path("out/map.html"),
        """
        const [x, y] = screen(data.points[7]), box = canvas.getBoundingClientRect();
        const at = { clientX: box.left + x, clientY: box.top + y };
        canvas.dispatchEvent(new PointerEvent('pointermove', at));
        const picture = tip.querySelector('div'), shown = getComputedStyle(picture);
        say({ text: tip.innerText, name: data.points[7][3], display: tip.style.display,
              picture: shown.backgroundImage.slice(0, 27), place: shown.backgroundPosition });
        """,
        tmp_path,
    )
    assert opened.said["display"] == "block"
    assert opened.said["text"].startswith(opened.said["name"])
    assert "class: " in opened.said["text"]
    assert opened.said["picture"] == 'url("data:image/jpeg;base64'
    assert opened.said["place"] == "0px -96px"  # the eighth of seven in a row
    assert (opened.asked, opened.complaints) == ([], [])


@pytest.mark.usefixtures("reported")
def test_every_figure_says_what_it_shows_at_both_widths(tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.html"
    faulty.write_text(
        '<figure style="width: 3000px"><img src="http://example.test/a.png"></figure>'
    )
    with running_browser() as browser:
        for address, least in (("pages/one.html", 9), ("reports/report/one/map/map.html", 0)):
            number, faults = faults_of_figures(browser, Path(address).resolve().as_uri())
            assert number >= least
            assert faults == []
        _, faults = faults_of_figures(browser, faulty.as_uri())
    told = "\n".join(faults)
    for part in ("sideways", "description", "command", "pictures", "title", "axes", "example.test"):
        assert part in told
