"""The documentation site: it builds without a network, fetches nothing from elsewhere, and no link in it is dead."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import thawline
from scripts.api_page import api_page
from scripts.build_site import SiteError, gather, nav_places, place_of, relinked, source_of
from tests.site_copy import ROOT, build_in, copy_sources

_FETCHING = {"src", "srcset", "poster", "data", "action", "background"}
"""Attributes whose address a browser fetches by itself; so is `href` of a <link>."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copy_sources(tmp_path_factory.mktemp("site"))
    done = build_in(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "build" / "site"


class _Page(HTMLParser):
    """Addresses in a page, those that are fetched apart, and its anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in _FETCHING or (tag == "link" and name == "href")):
                self.fetched.append(value)
            elif value and name == "href":
                self.linked.append(value)
            elif value and name == "style":
                self.fetched += _in_css(value)
            elif value and name in ("id", "name"):
                self.anchors.add(value)


def _in_css(text: str) -> list[str]:
    found = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
    return [address or imported for address, imported in found]


def _is_foreign(address: str) -> bool:
    return bool(urlsplit(address).netloc) or urlsplit(address).scheme not in ("", "data")


def test_no_page_or_style_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 35
    foreign = [(path.name, address) for path, page in pages.items() for address in page.fetched if _is_foreign(address)]
    styles = {path: _in_css(path.read_text(encoding="utf-8")) for path in site.rglob("*.css")}
    assert styles
    foreign += [(path.name, address) for path, found in styles.items() for address in found if _is_foreign(address)]
    assert foreign == []


def test_no_page_asks_for_what_the_theme_would_fetch_by_script(site: Path) -> None:
    """The script of the theme fetches a renderer where it meets a diagram, a light box or Python to run."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'class="[^"]*\b(mermaid|glightbox|arithmatex|pyodide)\b', text), page


def test_every_link_in_the_site_leads_somewhere(site: Path) -> None:
    pages = {path.resolve(): _Page(path) for path in site.rglob("*.html")}
    dead = [
        f"{path.name}: {address}"
        for path, page in pages.items()
        for address in (*page.linked, *page.fetched)
        if path.name != "404.html" and not _is_foreign(address) and not _is_alive(path, address, pages)
    ]
    assert dead == []


def _is_alive(page: Path, address: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    target = target / "index.html" if target.is_dir() else target
    return target.exists() and (not parts.fragment or target not in pages or parts.fragment in pages[target].anchors)


def _dead_link(root: Path) -> None:
    _append(root / "docs/auto.md", "[a page that is not there](nowhere.md)")


def _dead_anchor(root: Path) -> None:
    _append(root / "docs/auto.md", "[a heading that is not there](biotune.md#nothing-of-the-kind)")


def _page_without_entry(root: Path) -> None:
    (root / "docs/extra.md").write_text("# A page that the navigation does not have\n", encoding="utf-8")


def _entry_without_page(root: Path) -> None:
    (root / "docs/scaling.md").unlink()


def _append(page: Path, text: str) -> None:
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_dead_link, "docs/auto.md links to nowhere.md, which is absent."),
        (_dead_anchor, "nothing-of-the-kind"),
        (_page_without_entry, "docs/extra.md: no entry in the `nav` of zensical.toml."),
        (_entry_without_page, "docs/scaling.md: in the `nav` of zensical.toml, but absent."),
    ],
)
def test_a_page_that_is_broken_on_purpose_ends_the_build(
    damage: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    root = copy_sources(tmp_path / "copy")
    damage(root)
    done = build_in(root)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_links_of_the_pages_as_a_forge_shows_them_lead_to_files() -> None:
    """Without a build: what `gather` would copy, page by page."""
    waiting = [source_of(place) for place in nav_places(_config()["nav"])]
    known = set(waiting)
    while waiting:
        source = waiting.pop()
        if source.endswith(".md"):
            new = set(relinked(ROOT, source)[1]) - known
            known |= new
            waiting += new
    assert len(known) > 40
    assert {"docs/fit-dtd10.svg", "benchmarks/results/ground.md"} <= known


def test_links_change_with_the_place_of_a_page(tmp_path: Path) -> None:
    for name in ("docs/a.md", "docs/reference/index.md", "LOUD.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "LOUD.md").write_text(
        "[`a`](docs/a.md#x) and [all](docs/reference/), `[no](link.md)`", encoding="utf-8"
    )
    (tmp_path / "docs/a.md").write_text("[up](../LOUD.md) ![out](https://example.com/x.svg)", encoding="utf-8")
    assert relinked(tmp_path, "LOUD.md")[0] == "[`a`](a.md#x) and [all](reference/index.md), `[no](link.md)`"
    assert relinked(tmp_path, "docs/a.md") == ("[up](LOUD.md) ![out](https://example.com/x.svg)", ["LOUD.md"])
    assert (place_of("docs/a.md"), source_of("a.md"), source_of("LOUD.md")) == ("a.md", "docs/a.md", "LOUD.md")


def test_nothing_is_gathered_if_a_page_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(SiteError, match=r"docs/gone\.md: in the `nav`"):
        gather(tmp_path, {"nav": [{"Gone": "gone.md"}], "docs_dir": "build/pages"})
    assert not (tmp_path / "build").exists()


def test_diagrams_are_tables_of_their_arrows(site: Path) -> None:
    page = (site / "ARCHITECTURE.html").read_text(encoding="utf-8")
    diagram = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```mermaid\n")[1].split("```")[0]
    table = page.split("<table>")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + diagram.count("-->")
    assert "plan: block to learning rate" in table


def test_how_to_choose_has_the_table_of_the_readme() -> None:
    region = re.compile(r"<!-- proving ground, table.*?<!-- end of the proving ground -->", re.DOTALL)
    shown = [
        region.findall((ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "docs/how-to-choose.md")
    ]
    assert shown[0] == shown[1] != []


def test_the_reference_has_every_public_name() -> None:
    page = api_page()
    for name in thawline.__all__:
        if not name.startswith("_") and name not in ("Listener", "SearchConfig"):
            assert f"## `thawline.{name}`" in page or f"### `{name}`" in page, name
    assert "| `top` | `int` | `5` |" in page
    assert "docs_dir" not in page


def _config() -> dict[str, list[object]]:
    found: dict[str, list[object]] = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    return found


def _pages() -> Iterator[str]:
    yield from nav_places(_config()["nav"])


def test_every_page_opens_with_what_its_reader_can_do_afterwards() -> None:
    for page in {ROOT / source_of(place) for place in _pages()}:
        first, _, second, *_ = page.read_text(encoding="utf-8").splitlines()
        if not first.startswith("<!--") and page.parent in (ROOT / "docs", ROOT / "docs" / "reference"):
            assert first.startswith("# "), page
            assert second.startswith("After this page you "), page
