"""The page of `serve` in a real browser: drop a photo, read its classes, see where the network looks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_socket import enable_socket

from tests.prediction.conftest import photo
from tests.report.synthetic import write_run
from tests.report.test_browser import _CONTRASTS, CHROMIUM, READABLE
from thawline.report.colors import contrast
from thawline.runs.reporting import write_report
from thawline.serving.serve import open_server
from thawline.serving.server import PhotoServer

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is absent: it is in the `dev` extra")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhotoServer]:
    enable_socket()
    run = write_run(tmp_path_factory.mktemp("run") / "textures", classes=("a", "b", "c", "d"), verb="fit")
    write_report(run)
    (run / "model").symlink_to(folder)
    found = open_server(run)
    threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent")
    enable_socket()
    with playwright.sync_playwright() as session:
        found = session.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_photos_get_classes_and_a_map_and_nothing_leaves(
    browser: Any, server: PhotoServer, tmp_path: Path, width: int, scheme: str
) -> None:
    enable_socket()
    first, bad = photo(tmp_path / "first <b>.png", 1), tmp_path / "bad.jpg"
    bad.write_text("no image")
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}).new_page()
    asked: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    page.goto(server.url)
    page.set_input_files("#files", [str(first), str(bad)])
    page.wait_for_selector(".guesses dt")
    page.wait_for_selector(".wait.wrong")
    assert page.locator(".wrong").inner_text() == (
        "This file cannot be read as an image (not an image format that Pillow knows)."
    )
    card = page.locator(".photo", has=page.locator(".guesses dt"))
    assert card.locator(".path").inner_text() == "first <b>.png"
    assert card.locator(".guesses dt").count() == 4
    shares = [float(text.removesuffix(" %")) for text in card.locator(".guesses dd:not(.share)").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    card.locator(".look").click()
    page.wait_for_selector(".map:not([hidden])")
    assert card.locator(".map").evaluate("async (map) => { await map.decode(); return map.naturalWidth; }") == 224
    assert card.locator(".look").inner_text() == "Hide where it looks"
    card.locator(".look").click()
    assert not card.locator(".map").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [text for text in page.evaluate(_CONTRASTS) if contrast(*text[:2]) < READABLE] == []
    assert all(url.startswith((server.url, f"blob:http://127.0.0.1:{server.server_port}/")) for url in asked), asked
    assert [said for said in troubles if "422" not in said] == []  # the browser's own word on the file that is no image


def test_a_photo_can_be_dropped(browser: Any, server: PhotoServer, tmp_path: Path) -> None:
    enable_socket()
    content = [*photo(tmp_path / "dropped.png", 2).read_bytes()]
    page = browser.new_context().new_page()
    page.goto(server.url)
    page.evaluate(
        """content => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(content)], 'dropped.png'));
          document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: carried, bubbles: true, cancelable: true}));
        }""",
        content,
    )
    page.wait_for_selector(".guesses dt")
    assert page.locator(".photo .path").inner_text() == "dropped.png"


def test_the_report_works_in_its_sandbox(browser: Any, server: PhotoServer) -> None:
    enable_socket()
    page = browser.new_context().new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.goto(f"{server.url}report")
    page.locator("[data-cell]").first.click()
    assert page.locator("#viewer").is_visible()
    page.locator("#viewer form button").click()
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("window.origin") == "null"
    assert troubles == []


def test_another_page_cannot_use_it(browser: Any, server: PhotoServer) -> None:
    """A foreign page that even knows the address: its requests are refused, and it reads nothing."""
    enable_socket()
    page = browser.new_context().new_page()
    page.goto("data:text/html,<title>elsewhere</title>")
    read = page.evaluate(
        """async (url) => {
          const bytes = 'application/octet-stream';
          const tries = [['classes', 'POST', 'text/plain'], ['classes', 'POST', bytes], ['', 'GET']];
          return Promise.all(tries.map(([name, method, type]) => fetch(url + name, {
            method, body: method === 'POST' ? 'x' : undefined, headers: type ? {'Content-Type': type} : {},
          }).then(answer => answer.status, () => 'refused')));
        }""",
        server.url,
    )
    assert read == ["refused"] * 3
