"""Ways to give the playground pictures, and to take away what it shows: links and code."""

import contextlib
import io
import json
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import PHONE, opened_page, picture, portrait
from tests.pictures import encoded, photograph, portrait_photograph

JUNK = {"name": "bad.png", "mimeType": "image/png", "buffer": b"junk"}


def test_examples_are_of_each_class_and_known_to_be_right(page: Page, address: str) -> None:
    atlas = httpx.get(f"{address}/v1/models/cifar10-gap/atlas").json()
    names = sorted({entry["label"] for entry in atlas["pictures"]})
    examples = page.locator("#examples-list button")
    expect(examples).to_have_count(10)
    assert [button.get_attribute("aria-label") for button in examples.all()] == [
        f"Example: {name}" for name in names
    ]
    page.get_by_role("button", name="Example: horse").click()
    expect(page.locator("#nearest figure")).to_have_count(10)
    chosen = page.locator(".drop span").first.inner_text()  # such as horse-6.png
    assert atlas["pictures"][int(chosen.removeprefix("horse-").removesuffix(".png"))]["label"] == (
        "horse"
    )
    # it is its own nearest neighbour, but for the sheet's compression
    nearest = page.locator("#nearest figcaption").first.inner_text()
    assert nearest.startswith("horse")
    before = page.locator("#examples-list canvas").first.evaluate("canvas => canvas.toDataURL()")
    page.click("#examples-more")
    after = page.locator("#examples-list canvas").first.evaluate("canvas => canvas.toDataURL()")
    assert before != after


def test_a_model_without_atlas_takes_examples_from_its_route(page: Page) -> None:
    expect(page.locator("#examples")).to_be_visible()
    page.select_option("#classifier", "sparrows")
    expect(page.locator("#examples")).to_be_hidden()
    expect(page.locator("#access")).to_be_hidden()
    page.select_option("#classifier", "ladder-a")
    expect(page.locator("#examples-note")).to_have_text("Examples from cifar10:test, 400 pictures")


def test_several_pictures_are_listed_and_each_can_be_looked_into(page: Page, address: str) -> None:
    sent = [picture(photograph(64, 40, seed), f"{seed}.png") for seed in range(3)]
    page.set_input_files("#file-image", [*sent, JUNK])
    expect(page.locator("#batch-note")).to_contain_text("4 of 4 pictures are answered")
    for row, payload in zip(page.locator("#batch-rows tr").all(), sent, strict=False):
        answer = httpx.post(
            f"{address}/v1/models/cifar10-gap/classify", content=payload["buffer"]
        ).json()["pictures"][0]
        best = answer["top"][0]
        verdict = answer["verdict"].replace("_", " ")
        expect(row.locator("th")).to_have_text(payload["name"])
        told = [best["class"], f"{100 * best['probability']:.1f} %", verdict]
        expect(row.locator("td")).to_have_text(told)
    bad = page.locator("#batch-rows tr").last
    expect(bad.locator("td").first).to_have_text("Not a picture in an accepted format")
    expect(page.locator("#batch-rows [aria-current=true]")).to_have_text("0.png")
    page.get_by_role("button", name="2.png").click()
    expect(page.locator("#batch-rows [aria-current=true]")).to_have_text("2.png")
    expect(page.locator(".drop span").first).to_have_text("2.png")
    page.select_option("#classifier", "sparrows")  # asks for all of them again
    answer = httpx.post(f"{address}/v1/models/sparrows/classify", content=sent[0]["buffer"]).json()
    first = page.locator("#batch-rows tr").first.locator("td").first
    expect(first).to_have_text(answer["pictures"][0]["top"][0]["class"])
    page.click("#sample")
    expect(page.locator("#batch")).to_be_hidden()


def test_a_picture_is_dropped_and_pasted(page: Page) -> None:
    content = list(encoded(photograph(40, 40)))
    give = """([selector, kind, content]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(content)], `${kind}.png`, { type: "image/png" }));
        const name = kind === "paste" ? "clipboardData" : "dataTransfer";
        const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
        const event = new Kind(kind, { [name]: data, bubbles: true, cancelable: true });
        document.querySelector(selector).dispatchEvent(event);
    }"""
    for kind, selector in (("drop", ".drop"), ("paste", "body")):
        page.evaluate(give, [selector, kind, content])
        expect(page.locator(".drop span").first).to_have_text(f"{kind}.png")
        expect(page.locator("#announcement")).to_contain_text(f"{kind}.png: ")


def test_the_button_pastes_what_the_clipboard_holds(browser: Browser, address: str) -> None:
    with opened_page(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.evaluate("navigator.clipboard.writeText('no picture')")
        page.get_by_role("button", name="Paste: Drop").click()
        expect(page.locator("#announcement")).to_contain_text("holds no picture")
        page.evaluate(
            """async (content) => {
                const blob = new Blob([new Uint8Array(content)], { type: "image/png" });
                await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
            }""",
            list(encoded(photograph(40, 40))),
        )
        page.get_by_role("button", name="Paste: Drop").click()
        expect(page.locator(".drop span").first).to_have_text("pasted.png")
        expect(page.locator("#classes")).to_be_visible()


def test_the_camera_answers_while_it_runs_and_takes_a_picture(page: Page) -> None:
    page.get_by_role("button", name="Camera: Drop").click()
    page.check("#camera-live")
    expect(page.locator("#camera-answer")).to_contain_text("%")
    page.click("#camera-take")
    expect(page.locator("#camera")).to_be_hidden()
    expect(page.locator(".drop span").first).to_have_text("camera.jpg")
    expect(page.locator("#classes-note")).to_contain_text(
        "Your picture of 640\N{MULTIPLICATION SIGN}480 px"
    )
    assert page.evaluate("document.getElementById('camera-video').srcObject") is None


@pytest.mark.parametrize(
    ("undone", "told"),
    [
        ("(navigator, 'mediaDevices', {value: undefined})", "This browser offers no camera"),
        ("(window, 'isSecureContext', {value: false})", "only to pages that come over https"),
        ("(navigator.mediaDevices, 'getUserMedia', {value: refuse})", "Allow it in the browser's"),
    ],
)
def test_where_there_is_no_camera_the_page_says_why(page: Page, undone: str, told: str) -> None:
    page.evaluate(
        f"""() => {{
            const refuse = async () => {{ throw new DOMException("", "NotAllowedError"); }};
            Object.defineProperty{undone};
            if (!isSecureContext) Object.defineProperty(navigator, "mediaDevices", {{}});
        }}"""
    )
    page.get_by_role("button", name="Camera: Drop").click()
    expect(page.locator("#camera-problem")).to_contain_text(told)
    expect(page.locator("#camera-take")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("#camera")).to_be_hidden()


def test_a_link_brings_back_model_tab_and_options(browser: Browser, address: str) -> None:
    with opened_page(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.select_option("#classifier", "sparrows")
        page.click("#options summary")
        page.fill("#top", "2")
        page.press("#top", "Tab")
        page.set_input_files("#file-image", picture(photograph(64, 40)))
        expect(page.locator("#classes tr")).to_have_count(2)
        page.click("#share")
        expect(page.locator("#share")).to_have_text("Copied")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link == f"{address}/#classify?model=sparrows&top=2"
    with opened_page(browser, link) as page:
        expect(page.locator("#classifier")).to_have_value("sparrows")
        expect(page.locator("#top")).to_have_value("2")
        page.click("#tab-verify")
        page.select_option("#several", "all")
        assert page.url == f"{address}/#verify?several=all"
    with opened_page(browser, f"{address}/#classify?model=gone") as page:
        expect(page.locator("#problem")).to_contain_text("It has no model gone")
        expect(page.locator("#classifier")).to_have_value("cifar10-gap")


def test_the_request_repeats_in_a_shell_and_in_python(
    page: Page, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = 'it\'s a, "picture".png'
    sent = picture(photograph(64, 40), name)
    (tmp_path / name).write_bytes(sent["buffer"])
    page.click("#options summary")
    page.fill("#keep", "0.9")
    page.press("#keep", "Tab")
    page.set_input_files("#file-image", sent)
    address += "/v1/models/cifar10-gap/classify?keep=0.9"
    expected = httpx.post(address, content=sent["buffer"]).json()
    _check_code(page.locator("#code"), expected, tmp_path, monkeypatch)


def test_the_comparison_of_faces_repeats_with_the_key(
    page: Page, address: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_KEY", secret)
    (tmp_path / "picture.png").write_bytes(portrait()["buffer"])
    page.click("#tab-verify")
    page.set_input_files("#file-first", portrait())
    page.set_input_files("#file-second", portrait())
    page.click("#compare")
    page.fill("#key", secret)
    page.press("#key", "Enter")
    expect(page.locator(".verdict")).to_have_text("Match")
    files = {field: portrait()["buffer"] for field in ("first", "second")}
    headers = {"Authorization": f"Bearer {secret}"}
    expected = httpx.post(f"{address}/v1/faces/verify", files=files, headers=headers).json()
    _check_code(page.locator("#verify-code"), expected, tmp_path, monkeypatch)
    assert secret not in page.locator("#verify-code").inner_text()


def _check_code(
    code: Locator, expected: object, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run both pieces of code where the pictures lie; each must print the answer."""
    code.locator("summary").click()
    expect(code.locator("pre").first).to_be_visible()
    shell, python = code.locator("pre").all_inner_texts()
    done = subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, check=True)
    assert json.loads(done.stdout) == expected
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(python, {})  # noqa: S102
    answer = json.loads(printed.getvalue())
    assert answer["model"] == expected["model"]
    assert answer.keys() >= expected.keys()


def test_every_face_of_a_picture_is_framed_numbered_and_named(
    browser: Browser, address: str, secret: str
) -> None:
    face = portrait_photograph()
    both = Image.new("RGB", (2 * face.width, face.height))
    both.paste(face, (0, 0))
    both.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (face.width, 0))
    headers = {"Authorization": f"Bearer {secret}"}
    found = httpx.post(
        f"{address}/v1/faces/identify?several=all", content=encoded(both), headers=headers
    ).json()["pictures"]
    assert len(found) == 2
    with opened_page(browser, address, **PHONE) as page:
        page.click("#tab-gallery")
        page.fill("#key", secret)
        page.press("#key", "Enter")
        page.set_input_files("#file-who", picture(both))
        said = page.locator("#candidates .verdict")
        expect(said).to_have_text(["1: Nobody who is enrolled", "2: Nobody who is enrolled"])
        tags = page.locator("#gallery .tags b")
        expect(tags).to_have_text(["1: unknown", "2: unknown"])
        image = page.locator("#gallery .drop img").first.bounding_box()
        assert image is not None
        for entry, rect in zip(found, page.locator("#gallery .drop rect").all(), strict=True):
            drawn = rect.bounding_box()
            assert drawn is not None
            left = (drawn["x"] - image["x"]) / image["width"] * both.width
            assert left == pytest.approx(entry["face"]["box"]["left"], abs=12)
        page.click("#tab-verify")
        for field in ("first", "second"):
            page.set_input_files(f"#file-{field}", picture(both))
        page.select_option("#several", "all")
        page.click("#compare")
        expect(page.locator("#decision")).to_contain_text("4 pairs of faces were compared")
        expect(page.locator("#verify .tags b").first).to_have_text("1 · 99.9 %")
