"""The documentation site in a real browser, as wide as a phone: nothing from elsewhere, and no sideways scrolling."""

from __future__ import annotations

import http.server
import json
import re
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pytest_socket import enable_socket

from scripts.build_site import nav_places
from tests.report.test_browser import CHROMIUM
from tests.site_copy import ROOT, build_in, copy_sources

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is absent: it is in the `dev` extra")

pytestmark = pytest.mark.browser
PAGES = [
    place.removesuffix(".md").replace("benchmarks/README", "benchmarks/index") + ".html"
    for place in nav_places(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # the name of the base class
        """Say nothing: the test reads the browser's log."""


@pytest.fixture(autouse=True)
def _sockets() -> None:
    enable_socket()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    enable_socket()
    root = copy_sources(tmp_path_factory.mktemp("site"))
    assert build_in(root).returncode == 0
    handler = partial(_Quiet, directory=str(root / "build" / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is absent")
    enable_socket()
    with playwright.sync_playwright() as session:
        found = session.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_stay_at_home_and_need_no_sideways_scrolling(browser: Any, address: str, width: int) -> None:
    page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
    asked: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    for name in PAGES:
        page.goto(address + name)
        page.wait_for_timeout(100)
        wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not wide, f"{name} is wider than {width} pixels"
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert troubles == []
    assert len([url for url in asked if url.endswith(".html")]) >= len(PAGES)


def test_the_search_finds_pages_that_explain_a_word(browser: Any, address: str) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 844}).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}index.html")
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Search").first.click()
    page.wait_for_timeout(300)
    page.keyboard.type("ensemble", delay=20)
    page.get_by_text(re.compile(r"^\d+ results$")).wait_for(timeout=20_000)
    assert page.get_by_text("How to choose").count() > 1  # in the navigation, and among the results
    found = json.loads(page.request.get(f"{address}search.json").text())["items"]
    assert not [each for each in found if "benchmarks/results/" in each["location"]]  # pages of figures only
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
