"""The page of `vitrine train watch --page`, on a real training and in a real browser."""

import http.client
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser import PATIENCE, PHONE, opened_page, running_browser
from tests.commands import run_in_process
from tests.programs import Program
from tests.training.test_run import environment
from tests.training.test_watch import NOBODY, ROW, state_in
from training.__main__ import main
from training.run_state import CHECKPOINT, FINISHED, RunState
from training.watching.charts import charts
from training.watching.server import PageServer

NAME = "mine-smoke"
RUN = ("run", "mnist-relu-cross-entropy-sgd", "--profile", "smoke", "--name", "mine")
EPOCHS = 30
"""So many that the training is caught before it ends."""
CHANGES = ("--set", f"epochs={EPOCHS}", "--set", "data.name=synthetic/digits")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    with PageServer(tmp_path / "runs", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def until(true: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def violations(page: Page) -> list[tuple[str, list[str]]]:
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found]


def test_a_training_is_followed_from_its_start_to_its_artifact(
    browser: Browser, served: PageServer, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / NAME
    with opened_page(
        browser, f"{served.address}/", viewport={"width": 1200, "height": 900}
    ) as page:
        expect(page.locator("main")).to_contain_text("Nothing is training here")
        process = Program("training", [*RUN, *CHANGES], tmp_path, environment(tmp_path))
        until(lambda: len(getattr(RunState.read(folder), "history", ())) >= 3)
        process.send_signal(signal.SIGSTOP)  # so that it is not further than is expected below
        state = RunState.read(folder)
        assert state is not None
        article = page.get_by_role("article", name=NAME)
        expect(article).to_contain_text("Running.")
        expect(article).to_contain_text(f"{len(state.history)} of {EPOCHS}")
        expect(article).to_contain_text("Learning rate")
        expect(article).to_contain_text(re.compile(r"Time left\s*about \d"))
        last = f"{state.history[-1].validation_accuracy:.4f}"
        expect(article.locator("dd", has_text=last)).not_to_have_count(0)
        done = article.get_by_role("progressbar", name="Share of the training that is done")
        assert float(done.get_attribute("value")) == pytest.approx(state.fraction)
        expect(article.get_by_role("img")).to_have_count(2)
        said = page.get_by_role("status")
        expect(said).to_contain_text(f"{NAME}: running, {len(state.history)} epochs")
        article.locator("summary").click()
        expect(article.locator("tbody tr")).to_have_count(len(state.history))

        process.send_signal(signal.SIGCONT)
        ended = process.wait(250)
        assert ended.status == 0, ended.err
        expect(article).to_contain_text("Ended. Its artifact is written.")
        expect(article).to_contain_text(f"{EPOCHS} of {EPOCHS}")
        expect(article.locator("tbody tr")).to_have_count(EPOCHS)  # the table stays open
        assert article.locator("tbody").is_visible()
        expect(said).to_contain_text("ended")
        assert page.title() == f"{EPOCHS}/{EPOCHS} {NAME}, ended"


@pytest.mark.parametrize("settings", [PHONE, {"color_scheme": "light"}], ids=["phone", "desk"])
def test_the_page_is_for_everybody(
    browser: Browser, served: PageServer, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Running, not begun, interrupted and trained runs; a name and a loss that are odd."""
    rows = [replace(ROW, epoch=epoch, validation_loss=2 / epoch) for epoch in range(1, 40)]
    state_in(tmp_path / "runs" / "a-long-name-of-a-recipe-and-its-profile-smoke", history=rows)
    state_in(tmp_path / "runs" / "first", history=[], fraction=0.0, left=None, pid=os.getppid())
    odd = state_in(tmp_path / "runs" / "<b>odd", pid=NOBODY)
    assert odd.history == [ROW]
    (tmp_path / "runs" / "<b>odd" / FINISHED).touch()
    state_in(tmp_path / "runs" / "lost", pid=NOBODY, history=[replace(ROW, train_loss=math.inf)])
    state_in(tmp_path / "runs" / "cut", pid=NOBODY)
    (tmp_path / "runs" / "cut" / CHECKPOINT).touch()
    state_in(tmp_path / "runs" / "over", pid=NOBODY, fraction=1.0)  # its work is done
    with opened_page(browser, f"{served.address}/", **settings) as page:
        expect(page.get_by_role("article")).to_have_count(5)
        expect(page.get_by_role("article", name="<b>odd")).to_contain_text(
            "vitrine train publish <b>odd"
        )
        expect(page.get_by_role("article", name="lost")).to_contain_text("It has no checkpoint.")
        expect(page.get_by_role("article", name="cut")).to_contain_text(
            "The command that started it continues from its checkpoint."
        )
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert violations(page) == []
        colours = "[...document.querySelectorAll('body, article')].map(e => getComputedStyle(e))"
        paper = page.evaluate(f"{colours}[0].backgroundColor")
        assert (paper == "rgb(20, 23, 27)") == (settings.get("color_scheme") == "dark")


def test_the_page_says_when_it_gets_no_news(
    browser: Browser, served: PageServer, tmp_path: Path
) -> None:
    state_in(tmp_path / "runs" / "mine")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{served.address}/")
        expect(page.get_by_role("article")).to_have_count(1)
        page.route("**/*", lambda route: route.abort())
        expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=PATIENCE)
        expect(page.get_by_role("article")).to_have_count(1)
        page.unroute("**/*")
        expect(page.get_by_role("alert")).to_have_count(0, timeout=PATIENCE)


def test_the_page_is_for_this_machine_only(served: PageServer) -> None:
    assert served.server_address[0] == "127.0.0.1"
    port = served.server_port
    for host, status in {
        f"127.0.0.1:{port}": 200,
        f"localhost:{port}": 200,
        "localhost:9000": 200,  # the end of a tunnel
        "localhost": 200,
        f"evil.example:{port}": 403,
        f"127.0.0.1.evil.example:{port}": 403,
        "": 403,
    }.items():
        answer = httpx.get(served.address, headers={"Host": host})
        assert answer.status_code == status, host
    headers = httpx.get(served.address).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'nonce-")
    assert "access-control-allow-origin" not in headers
    for path in ("/state.json", "/../runs", "/%2e%2e/etc/passwd", "//etc/passwd"):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path)
        assert connection.getresponse().status == 404, path
        connection.close()
    assert httpx.post(served.address).status_code == 501


def test_the_command_names_the_page_or_what_is_wrong(
    served: PageServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    taken = run_in_process(main, "training", "watch", "--page", "--port", str(served.server_port))
    assert taken.status == 1
    assert "cannot be used (Address already in use); name another with --port." in taken.err
    assert run_in_process(main, "training", "watch", "--port", "3002").status == 2

    def interrupt(_: PageServer) -> None:
        assert httpx.get(f"{served.address}").status_code == 200
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupt)
    done = run_in_process(main, "training", "watch", "mine", "--page", "--port", "0")
    assert done.status == 0
    assert re.search(r"/runs/mine are shown at http://127\.0\.0\.1:\d+ ", done.out)


def test_curves_have_a_place_for_every_epoch(tmp_path: Path) -> None:
    assert charts(state_in(tmp_path, history=[])) == []
    rows = [replace(ROW, epoch=1), replace(ROW, epoch=2, validation_loss=math.nan)]
    loss, score = charts(state_in(tmp_path, history=rows, score="mAP"))
    assert [len(line.points) for line in loss.lines] == [2, 1]
    assert "Validation: from 1.5000 in epoch 1 to 1.5000 in epoch 1." in loss.description
    assert score.label == "mAP"
    assert [tick.text for tick in loss.columns] == ["1", "2", "3"]
    places = [tick.place for tick in loss.columns]
    assert [x for x, _ in loss.lines[0].points] == places[:2]
