"""The page in a browser: a clip is dropped, bars come, the player moves, the CSV is taken along."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from claip_emo.media.source import open_source
from claip_emo.serving.page import EXAMPLES

from .client import Client
from .conftest import LIMITS, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
FOLDER = Path(__file__).parents[2] / "src/claip_emo/serving/page_files/examples"
PAGE_KEY = "0123456789abcdef"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is missing")


@pytest.fixture(scope="module")
def site(recognizer) -> Iterator[Client]:
    with served(recognizer, page="The model of a test answers.") as (client, _, _):
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-ui-for-media-stream",
                  "--use-fake-device-for-media-stream",
                  "--autoplay-policy=no-user-gesture-required"],
        )  # fmt: skip
        yield found
        found.close()


@pytest.fixture
def opened(browser, site):
    """Opens the page; whatever it asks of other machines, and its errors, are collected."""
    contexts, foreign, errors = [], [], []

    def call(kind: str = "desktop", scheme: str = "light", port: int | None = None) -> Page:
        width, height = WIDTHS[kind]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme,
            accept_downloads=True, device_scale_factor=1,
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        home = f"http://127.0.0.1:{port or site.port}/"
        page.on(
            "request",
            lambda request: (
                foreign.append(request.url)
                if not request.url.startswith((home, "blob:", "data:"))
                else None
            ),
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(home)
        page.wait_for_selector(".ce[data-ready]", timeout=30_000)
        return page

    yield call
    for context in contexts:
        context.close()
    assert foreign == []
    assert errors == []


def drop(page: Page, name: str) -> None:
    """Drop an example as a user drops a file."""
    content = list((FOLDER / name).read_bytes())
    transfer = page.evaluate_handle(
        """([bytes, name, type]) => {
          const held = new DataTransfer();
          held.items.add(new File([new Uint8Array(bytes)], name, { type }));
          return held;
        }""",
        [content, name, next(each["type"] for each in EXAMPLES if each["name"] == name)],
    )
    page.dispatch_event("#ce-drop", "drop", {"dataTransfer": transfer})


def looked(page: Page) -> None:
    page.wait_for_selector("#ce-results:not([hidden])", timeout=60_000)
    page.wait_for_selector("#ce-now .ce-fill", timeout=10_000)


def shares(page: Page, inside: str) -> dict[str, float]:
    """Widths of the bars in a part of the page, by label."""
    return page.eval_on_selector_all(
        f"{inside} .ce-bars",
        """(all) => Object.fromEntries([...all[0].querySelectorAll('.ce-track')].map((track) =>
          [track.previousElementSibling.textContent, parseFloat(track.firstChild.style.width)]))""",
    )


def test_a_clip_is_dropped_and_its_csv_taken_along(opened, recognizer) -> None:
    page = opened()
    drop(page, "happy.mp4")
    looked(page)
    wanted = recognizer(FOLDER / "happy.mp4")
    expect(page.locator("#ce-answer")).to_contain_text(wanted.label)
    whole = shares(page, "#ce-apart")
    assert {name: value / 100 for name, value in whole.items()} == pytest.approx(
        wanted.scores, abs=0.01
    )
    assert page.locator("#ce-apart .ce-bars").count() == 3  # both, face, voice
    timeline = recognizer.timeline(FOLDER / "happy.mp4", hop_s=0.25, faces="all")
    before = shares(page, "#ce-now")
    page.wait_for_function("document.querySelector('#ce-video').readyState >= 2", timeout=20_000)
    page.evaluate("document.querySelector('#ce-video').currentTime = 3.0")
    page.wait_for_function("document.querySelector('#ce-clock').textContent.startsWith('3.0')")
    after = shares(page, "#ce-now")
    assert after != before
    (person,) = timeline.people
    near = min(person.windows, key=lambda w: abs((w.start_s + w.end_s) / 2 - 3.0))
    assert {name: value / 100 for name, value in after.items()} == pytest.approx(
        timeline.named(near.scores), abs=0.01
    )
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the timeline as CSV").click()
    download = downloading.value
    assert download.suggested_filename == "happy.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.path()).read_text("utf-8"))))
    assert len(rows) == len(list(person.windows))
    assert page.locator("#ce-downloads a").count() == 3
    taken = json.loads(page.evaluate(
        "fetch(document.querySelectorAll('#ce-downloads a')[1].href).then((a) => a.text())"
    ))  # fmt: skip
    assert taken["path"] == "clip"


def test_boxes_move_with_the_player(opened) -> None:
    page = opened()
    drop(page, "two-people.mp4")
    looked(page)
    page.wait_for_function("document.querySelector('#ce-video').readyState >= 2", timeout=20_000)
    drawn = """() => { const c = document.querySelector('#ce-boxes');
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0;
      return n / c.width / c.height; }"""
    faces = page.evaluate("document.querySelectorAll('#ce-lanes .ce-lane').length")
    assert faces >= 1
    page.evaluate("document.querySelector('#ce-video').play()")
    page.wait_for_function("document.querySelector('#ce-video').currentTime > 0.5")
    page.evaluate("document.querySelector('#ce-video').pause()")
    where = float(page.input_value("#ce-seek"))
    assert where == pytest.approx(
        page.evaluate("document.querySelector('#ce-video').currentTime"), abs=0.3
    )
    assert 0 <= page.evaluate(drawn) < 0.3


def test_examples_and_sound_alone(opened) -> None:
    page = opened()
    assert page.locator(".ce-example").count() == len(EXAMPLES)
    page.get_by_role("button", name="A voice without a face").click()
    looked(page)
    expect(page.locator("#ce-sentence")).to_contain_text("Only a voice")
    assert page.locator("#ce-apart .ce-bars").count() == 1


def test_the_webcam(opened) -> None:
    page = opened()
    page.get_by_role("button", name="Record from the webcam").click()
    page.wait_for_function("document.querySelector('#ce-live-time').textContent.startsWith('2')")
    page.get_by_role("button", name="Stop and look").click()
    page.wait_for_selector("#ce-results:not([hidden]), #ce-error:not([hidden])", timeout=60_000)
    expect(page.locator("#ce-error")).to_be_hidden()
    looked(page)


def test_by_keyboard_alone(opened) -> None:
    page = opened()
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.textContent")
        if focused == EXAMPLES[0]["title"]:
            break
    else:
        pytest.fail("the examples cannot be reached")
    page.keyboard.press("Enter")
    looked(page)
    assert page.evaluate("document.activeElement.id") == "ce-answer"
    page.focus("#ce-seek")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.locator("#ce-clock").text_content().startswith("0.1")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", b"these are notes", "begins as no video"),
        ("broken.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(500), "cannot be read"),
        ("huge.mp4", bytes(LIMITS.max_bytes + 1), "larger than this server takes"),
    ],
)
def test_what_cannot_be_read_is_said(opened, name, content, says) -> None:
    page = opened()
    page.set_input_files("#ce-file", {"name": name, "mimeType": "video/mp4", "buffer": content})
    expect(page.locator("#ce-error")).to_contain_text(says, timeout=20_000)
    expect(page.locator("#ce-progress")).to_be_hidden()
    drop(page, "voice.wav")  # and it goes on
    looked(page)
    expect(page.locator("#ce-error")).to_be_hidden()


def test_a_server_with_a_key_asks_for_it(browser, opened, recognizer) -> None:
    with served(recognizer, api_key=PAGE_KEY, page="A model.") as (client, _, _):
        page = opened(port=client.port)
        drop(page, "voice.wav")
        expect(page.locator("#ce-error")).to_contain_text("API key")
        page.fill("#ce-key", PAGE_KEY)
        drop(page, "voice.wav")
        looked(page)


@pytest.mark.parametrize("kind", WIDTHS)
def test_it_is_accessible_and_fits(opened, kind, tmp_path) -> None:
    page = opened(kind)
    for step in ("empty", "full"):
        if step == "full":
            drop(page, "two-people.mp4")
            looked(page)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0
            found = Axe().run(page).response["violations"]
            serious = [one for one in found if one["impact"] in ("serious", "critical")]
            assert serious == [], json.dumps(serious, indent=1)[:3000]
            page.screenshot(path=tmp_path / f"{kind}-{scheme}-{step}.png", full_page=True)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            parts = [float(part) for part in ground[ground.index("(") + 1 : -1].split(",")[:3]]
            assert (sum(parts) < 300) == (scheme == "dark")


def test_in_the_dark_it_is_dark_from_the_first(opened) -> None:
    page = opened("phone", "dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(float, ground[ground.index("(") + 1 : -1].split(",")[:3])) < 300


def test_nothing_of_gradio_is_open_but_what_draws_the_page(site) -> None:
    for method, path in (
        ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/file=/etc/passwd"), ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/call/predict"), ("POST", "/gradio_api/run/predict"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"), ("GET", "/gradio_api/info"),
        ("POST", "/gradio_api/component_server"), ("GET", "/monitoring"), ("POST", "/"),
        ("GET", "/static/../../../../../../etc/passwd"),
        ("GET", "/assets/%2e%2e/%2e%2e/config.json"),
        ("GET", "/page/examples/..%2f..%2fpage.html"), ("GET", "/page/examples/none.mp4"),
    ):  # fmt: skip
        answer = site.ask(method, path, None, {})
        assert answer.status in (403, 404, 405), (path, answer.status)
        assert b"root:" not in answer.body


def test_what_is_refused_is_counted_as_everything_else(site) -> None:
    site.get("/gradio_api/info")
    text = site.get("/metrics").body.decode()
    assert 'claip_emo_requests_total{route="other",status="404"}' in text


def test_examples_are_small_and_readable() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {each["name"] for each in EXAMPLES}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 600_000
    for path in FOLDER.iterdir():
        assert 2 < open_source(path).duration_s < 6
