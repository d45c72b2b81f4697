"""The three panels of the playground, in a real browser."""

import io
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import serving
from tests.browser import PHONE, opened_page, picture, portrait
from tests.graphs import tiny_artifact
from tests.pictures import photograph
from tests.server import running_server


def test_a_picture_is_classified_and_looked_into(page: Page, address: str) -> None:
    sent = picture(photograph(64, 40))
    page.set_input_files("#file-image", sent)
    first = page.locator("#classes tr").first
    answer = httpx.post(f"{address}/v1/models/cifar10-gap/classify", content=sent["buffer"])
    best = answer.json()["pictures"][0]["top"][0]
    expect(first).to_contain_text(best["class"])
    expect(first).to_contain_text(f"{100 * best['probability']:.1f} %")
    filled, whole = (first.locator(part).bounding_box() for part in ("i", ".bar"))
    assert filled is not None
    assert whole is not None
    assert filled["width"] / whole["width"] == pytest.approx(best["probability"], abs=0.01)
    expect(page.locator("#classes-note")).to_contain_text("40 px was shown to it at")
    expect(page.locator("#classifier-card")).to_contain_text("cifar10, ")
    expect(page.locator("#maps canvas")).not_to_have_count(0)
    bars = page.locator("#profile .zeros").count()
    assert bars == page.locator("#layer option").count() > 1
    page.locator("#profile .hit").nth(1).click()
    expect(page.locator("#layer")).to_have_value(
        str(page.locator("#profile .chosen").get_attribute("data-layer"))
    )


def test_a_picture_lies_among_those_that_the_model_knows(page: Page, address: str) -> None:
    model = f"{address}/v1/models/cifar10-gap"
    page.click("#sample")
    cells = page.locator("#nearest figure")
    expect(cells).to_have_count(10)
    content = httpx.get(f"{address}/playground/sample.jpg").content
    found = httpx.post(f"{model}/neighbours?top=10", content=content).json()["pictures"][0]
    for cell, neighbour in zip(cells.all(), found["nearest"], strict=True):
        shown = cell.locator("figcaption").inner_text().rsplit(" ", 1)
        assert shown[0] == neighbour["label"]
        assert float(shown[1]) == pytest.approx(neighbour["distance"], rel=5e-3)
    green = [210, 230, 120]  # at most, of the frog's green, where its picture lies on the map
    x, y = (round(22 + 596 * found["place"][axis]) for axis in "xy")
    there = page.evaluate(
        f"[...document.getElementById('atlas').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
    )
    assert all(value <= most for value, most in zip(there, green, strict=False))
    assert there[1] == max(there[:3])
    label = str(page.locator("#atlas").get_attribute("aria-label"))
    assert label.startswith("A map of 400 pictures; yours lies near ")


def test_the_models_of_any_route_are_listed_and_answer(page: Page) -> None:
    groups = page.locator("#classifier optgroup")
    listed = {
        str(group.get_attribute("label")): group.locator("option").all_inner_texts()
        for group in groups.all()
    }
    assert listed.keys() == {"route birds", "route cifar10", "without a route"}
    assert listed["route birds"] == ["sparrows · default"]
    assert listed["without a route"] == ["alone"]
    assert [text.endswith("· default") for text in listed["route cifar10"]] == [True, False]
    expect(page.locator("#classifier")).to_have_value("cifar10-gap")  # it knows the sample
    page.select_option("#classifier", "sparrows")
    page.click("#sample")
    expect(page.locator("#classes-note")).to_contain_text("The model sparrows")
    expect(page.locator("#classes tr")).to_have_count(3)


def test_a_multi_label_model_shows_which_classes_are_present(
    browser: Browser, tmp_path: Path
) -> None:
    tiny_artifact(tmp_path / "models", "several", task="multi-label", thresholds=(0.9, 0.0, 0.2))
    with (
        running_server(tmp_path / "models", tmp_path / "log") as address,
        opened_page(browser, address) as page,
    ):
        _check_which_are_present(page, address)


def _check_which_are_present(page: Page, address: str) -> None:
    expect(page.locator("#classifier-card")).to_contain_text("those of 3 classes that are present")
    sent = picture(photograph(64, 40))
    page.set_input_files("#file-image", sent)
    answer = httpx.post(f"{address}/v1/models/several/classify", content=sent["buffer"])
    top = answer.json()["pictures"][0]["top"]
    expect(page.locator("#classes tr")).to_have_count(len(top))
    for row, given in zip(page.locator("#classes tr").all(), top, strict=True):
        mark = "✓ " if given["present"] else ""
        expect(row.locator("th")).to_have_text(mark + given["class"])
        line, whole = row.locator(".bar b").bounding_box(), row.locator(".bar").bounding_box()
        assert line is not None
        assert whole is not None
        share = (line["x"] - whole["x"]) / whole["width"]
        assert share == pytest.approx(given["threshold"], abs=0.01)
    expect(page.locator("#classes-note")).to_contain_text("do not sum to 100 %")


def test_what_speaks_for_a_class_is_drawn_over_the_picture(page: Page, address: str) -> None:
    page.select_option("#classifier", "sparrows")
    sent = picture(photograph(64, 40))
    page.set_input_files("#file-image", sent)
    answer = httpx.post(f"{address}/v1/models/sparrows/classify", content=sent["buffer"])
    top = [guess["class"] for guess in answer.json()["pictures"][0]["top"]]
    choices = page.locator("#explain-choices label")
    expect(choices).to_have_text(["nothing", *top])
    overlay = page.locator(".overlay").first
    expect(overlay).to_be_hidden()
    shown = []
    for name in top[:2]:
        page.get_by_role("radio", name=name, exact=True).check()
        expect(page.locator("#explain-note")).to_contain_text(f"Orange speaks for {name}, blue")
        expect(overlay).to_be_visible()
        shown.append(overlay.get_attribute("src"))
        box, over = page.locator(".drop img").first.bounding_box(), overlay.bounding_box()
        assert box is not None
        assert box == over
        assert box["width"] == pytest.approx(240, abs=1)  # a small picture is enlarged
    assert shown[0] != shown[1]
    drawn = page.evaluate(
        """async () => {
            const image = document.querySelector(".overlay");
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
    )
    address = f"{address}/v1/models/sparrows/explain?class={top[1]}"
    expected = httpx.post(address, content=sent["buffer"], headers={"Accept": "image/png"})
    with Image.open(io.BytesIO(expected.content)) as image:
        assert drawn == np.asarray(image.convert("RGBA")).ravel().tolist()
    page.get_by_role("radio", name="nothing").check()
    expect(overlay).to_be_hidden()
    page.get_by_role("radio", name=top[0], exact=True).check()
    expect(overlay).to_be_visible()
    page.set_input_files("#file-image", picture(photograph(40, 64, 1)))
    expect(overlay).to_be_hidden()
    expect(page.get_by_role("radio", name="nothing")).to_be_checked()


def test_the_whole_card_opens(page: Page, address: str) -> None:
    page.focus("#classifier-card summary")
    page.keyboard.press("Enter")
    card = httpx.get(f"{address}/v1/models/cifar10-gap/card").text
    expect(page.locator("#classifier-card pre")).to_have_text(card)


def test_a_closed_model_asks_for_the_key_and_one_may_be_without_atlas(
    page: Page, secret: str
) -> None:
    expect(page.locator("#access")).to_be_hidden()
    page.select_option("#classifier", "ladder-a")
    page.click("#sample")
    expect(page.locator("#classify-problem")).to_contain_text("no-key")
    page.fill("#key", secret)
    page.press("#key", "Enter")
    expect(page.locator("#surroundings")).to_contain_text("vitrine analyse atlas --model ladder")
    expect(page.locator("#maps canvas")).not_to_have_count(0)


def test_a_bad_file_is_refused_as_the_api_states_it(page: Page, address: str) -> None:
    page.click("#sample")
    expect(page.locator("#classes")).to_be_visible()
    page.set_input_files(
        "#file-image", {"name": "bad.png", "mimeType": "image/png", "buffer": b"junk"}
    )
    stated = page.locator("#classify-problem")
    problem = httpx.post(f"{address}/v1/models/cifar10-gap/classify", content=b"junk").json()
    detail = problem["detail"].replace(
        "picture 0", "bad.png"
    )  # the page names what the API numbers
    for part in (problem["title"], detail, problem["code"], f"HTTP {problem['status']}"):
        expect(stated).to_contain_text(part)
    expect(page.locator("#classes")).to_be_hidden()
    expect(page.locator("#maps canvas")).to_have_count(0)
    page.click("#sample")
    expect(stated).to_be_empty()


def test_two_faces_are_compared(page: Page, address: str, secret: str) -> None:
    page.click("#tab-verify")
    expect(page.locator("#compare")).to_be_disabled()
    page.set_input_files("#file-first", portrait())
    page.set_input_files("#file-second", portrait(mirrored=True))
    page.click("#compare")
    expect(page.locator("#verify-problem")).to_contain_text("no-key")
    page.fill("#key", secret)
    page.press("#key", "Enter")
    expect(page.locator(".verdict")).to_have_text("Match")
    scale = page.locator("#decision svg")
    assert re.match(
        r"Distance 0\.\d+; a match is up to 0\.522", str(scale.get_attribute("aria-label"))
    )
    bars = scale.locator(".pairs.same"), scale.locator(".pairs.different")
    model = httpx.get(f"{address}/v1/models/faces-dlib").json()
    histogram = model["verification"]["pairs"]["histogram"]
    for kind, shown in zip(("same", "different"), bars, strict=True):
        tall = [float(str(bar.get_attribute("height"))) for bar in shown.all()]
        counts = histogram[kind]
        assert tall.index(max(tall)) == counts.index(max(counts))
        assert len(tall) == len(counts)
    threshold = scale.locator("line.threshold").bounding_box()
    here = scale.locator("line.here").bounding_box()
    assert threshold is not None
    assert here is not None
    assert here["x"] < threshold["x"]
    expect(page.locator("#decision .legend")).to_contain_text("58,650 pairs of one person")
    expect(page.locator("#verify .drop rect.chosen")).to_have_count(2)
    page.set_input_files("#file-second", picture(photograph(300, 300)))
    page.click("#compare")
    expect(page.locator(".verdict")).to_have_text("Cannot say")
    expect(page.locator("#decision")).to_contain_text("face")


def test_enrolled_found_and_erased_on_a_phone(browser: Browser, address: str, secret: str) -> None:
    person = "Grace <b>Hopper & 李"  # shown as it is, never as markup
    with opened_page(browser, address, **PHONE) as page:
        page.click("#tab-gallery")
        expect(page.locator("#gallery-problem")).to_contain_text("no-key")
        page.fill("#key", secret)
        page.press("#key", "Enter")
        expect(page.locator("#gallery-note")).to_contain_text("Enrolled: 0 people")
        page.fill("#person", person)
        page.click("#enrol > button")
        expect(page.locator("#gallery-problem")).to_contain_text("No picture was chosen")
        page.set_input_files("#file-portrait", portrait())
        page.click("#enrol > button")
        expect(page.locator("#people li")).to_contain_text(person)
        page.set_input_files("#file-who", portrait(mirrored=True))
        expect(page.locator("#candidates .verdict")).to_have_text(person)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["viewport"]["width"]
        page.click("#people button")
        page.keyboard.press("Escape")  # changed their mind
        expect(page.locator("#people li")).to_have_count(1)
        page.click("#people button")
        page.click("dialog .danger")
        expect(page.locator("#receipt")).to_contain_text("1 embedding")
        expect(page.locator("#people li")).to_have_count(0)
    found = httpx.get(
        f"{address}/v1/faces/people", headers={"Authorization": f"Bearer {secret}"}
    ).json()
    assert found["people"] == []


def test_the_keyboard_suffices(page: Page) -> None:
    page.focus("#tab-classify")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-verify")).to_be_focused()
    expect(page.locator("#verify")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#tab-gallery")).to_be_focused()
    page.keyboard.press("Home")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"file-image", "sample", "classifier"} <= reached


@pytest.mark.parametrize("path", ["/", "/playground/main.js", "/playground/sample.jpg"])
def test_nothing_from_elsewhere_is_allowed(address: str, path: str) -> None:
    policy = httpx.get(address + path).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert not re.search(r"unsafe|https?:|\*", policy)


def test_its_files_name_no_other_server() -> None:
    playground = Path(serving.__file__).parent / "playground"
    for file in playground.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*//.*$|\s// .*$", "", text, flags=re.MULTILINE), file
