"""The page in a real browser: it works, stays at home, fits a phone, can be read in the dark.

Real runs on real photographs, and a run of hostile names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_socket import enable_socket

from tests.report.synthetic import HOSTILE, noise, write_explanation, write_run
from thawline import api
from thawline.config import DataConfig, TrainConfig, TuningConfig
from thawline.data.demo import demo_network
from thawline.report.colors import contrast
from thawline.report.study import StudyPage, draw_study
from thawline.report.thumbnails import thumbnails
from thawline.runs.files import read_run, write_thumbnails
from thawline.runs.reporting import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is absent: it is in the `dev` extra")

pytestmark = pytest.mark.browser
CHROMIUM = Path("/usr/bin/chromium")
READABLE = 4.5
"""Contrast of text, WCAG 2.2 level AA."""

_CONTRASTS = """() => {
  const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const blend = (color, below) => {
    probe.fillStyle = below; probe.fillRect(0, 0, 1, 1);
    probe.fillStyle = color; probe.fillRect(0, 0, 1, 1);
    const channels = [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
    return '#' + channels.map(c => c.toString(16).padStart(2, '0')).join('');
  };
  const ground = (element) => {
    const above = [];
    for (let at = element; at; at = at.parentElement) above.push(getComputedStyle(at).backgroundColor);
    return above.reverse().reduce((below, color) => blend(color, below), '#ffffff');
  };
  const texts = [...document.querySelectorAll('body *')].filter((one) =>
    one.checkVisibility() && !one.closest('svg, .sr') && !one.matches('.none') &&
    [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return texts.map((one) => {
    const below = ground(one);
    return [blend(getComputedStyle(one).color, below), below, one.outerHTML.slice(0, 90)];
  });
}"""

_SVG_CONTRASTS = """() => {
  const two = (channel) => (+channel).toString(16).padStart(2, '0');
  const hex = (color) => '#' + color.match(/[0-9.]+/g).slice(0, 3).map(two).join('');
  const page = hex(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('svg .tick, svg .axis, svg .name, svg .note, svg .label')]
    .map((one) => [hex(getComputedStyle(one).fill), page, one.outerHTML.slice(0, 90)]);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent")
    enable_socket()  # Playwright speaks to the browser over a loopback connection
    with playwright.sync_playwright() as session:
        found = session.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(autouse=True)
def _sockets() -> None:
    enable_socket()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "run"
    api.fit(_photos("dtd10"), folder, model=f"local-dir:{demo_network()}", **_quick())
    return folder / "report.html"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "run"
    rows = ("linear_probe", "full", "lp_ft", "depth:share=0", "depth:share=50", "depth:share=100")
    search = "biotune:population=4,elites=1,generations=2,seeds=1,top=2"
    options = {**_quick(), "search": TuningConfig(learning_rate=1e-3)}
    api.compare(_photos("flowers5"), folder, model=f"local-dir:{demo_network()}", strategies=(*rows, search), **options)
    return folder / "report.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 classes under bad names, with pictures and an explanation."""
    folder = tmp_path_factory.mktemp("hostile")
    names = [f"{HOSTILE[at % len(HOSTILE)]}{at or ''}" for at in range(200)]
    return _with_pictures(write_run(folder / "run", classes=names, images=400, verb="fit"), folder / "data")


@pytest.fixture(scope="module")
def hostile_few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    return _with_pictures(write_run(folder / "run", classes=HOSTILE, images=70), folder / "data")


@pytest.fixture(params=["fitted", "compared", "hostile", "hostile_few"])
def report(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def _photos(name: str) -> str:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds the real images")
    return str(folder)


def _quick() -> dict[str, Any]:
    return {
        "train": TrainConfig(epochs=2, threads=1),
        "images": DataConfig(augment="none", image_size=64, limit=300),
    }


def _with_pictures(folder: Path, data: Path) -> Path:
    """The report of a made-up run; where a file system takes the name, its image is noise."""
    run = read_run(folder)
    assert run.predictions is not None
    for guess in run.predictions.guesses:
        if len(guess.path) < 200 and ".." not in guess.path:
            noise(data / guess.path, 40)
    write_thumbnails(folder, thumbnails(run.predictions, data, {}))
    write_explanation(folder)
    return write_report(folder)


def _open(browser: Any, path: Path, **options: Any) -> Any:
    page = browser.new_context(**options).new_page()
    page.troubles = []
    page.on("console", lambda message: page.troubles.append(message.text))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("dialog", lambda dialog: page.troubles.append(dialog.message))
    page.on("request", lambda request: page.troubles.append(request.url) if _leaves(request.url, path) else None)
    page.goto(path.as_uri())
    return page


def _leaves(url: str, path: Path) -> bool:
    return not url.startswith("data:") and url != path.as_uri()


def test_it_opens_without_errors_requests_or_alerts(browser: Any, report: Path) -> None:
    page = _open(browser, report)
    page.wait_for_timeout(200)
    assert page.troubles == []
    for name in ("answer", "network", "league", "front", "confusion", "classes", "calibration", "examples", "moved"):
        assert page.locator(f"#{name}").is_visible(), name
    assert report.stat().st_size < 5_000_000


def test_cells_open_their_images(browser: Any, report: Path) -> None:
    page = _open(browser, report)
    buttons = page.locator("[data-cell]")
    assert buttons.count() > 1
    for at in range(min(buttons.count(), 8)):
        button = buttons.nth(at)
        button.click()
        shown = page.locator("#viewer li")
        assert shown.count() == min(int(button.inner_text()), 50) or page.locator("#viewer h3").inner_text().endswith(
            ")"
        )
        for picture in page.locator("#viewer img").all():
            assert picture.evaluate("one => one.complete && one.naturalWidth > 0")
        page.keyboard.press("Escape")
        assert not page.locator("#viewer").is_visible()
    assert page.troubles == []


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_it_needs_no_sideways_scrolling(browser: Any, report: Path, width: int) -> None:
    page = _open(browser, report, viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "is_open"), [(390, False), (1280, True)])
def test_small_figures_begin_folded_on_a_phone(browser: Any, hostile: Path, width: int, is_open: bool) -> None:
    page = _open(browser, hostile, viewport={"width": width, "height": 844})
    folded = page.locator("details.narrow")
    assert folded.count() >= 1
    assert [each.evaluate("found => found.open") for each in folded.all()] == [is_open] * folded.count()
    assert page.troubles == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_a_study_fits_and_stays_at_home(browser: Any, tmp_path: Path, width: int) -> None:
    tables = [
        SimpleNamespace(title="Table", columns=["strategy", *map(str, range(12))], rows=[["full"] * 13], notes=[])
    ]
    text = ["Best on validation."]
    study = StudyPage("study", "A paper.", "A verdict.", text, tables, tables, text, text, "1 finished", ["a machine"])
    (tmp_path / "report.html").write_text(draw_study(study), encoding="utf-8")
    page = _open(browser, tmp_path / "report.html", viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").inner_text() == "A verdict."
    assert page.troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Any, report: Path, scheme: str) -> None:
    page = _open(browser, report, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = [*page.evaluate(_CONTRASTS), *page.evaluate(_SVG_CONTRASTS)]
    assert len(found) > 100
    faint = {element: (ink, ground) for ink, ground, element in found if contrast(ink, ground) < READABLE}
    assert faint == {}
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 200) == (scheme == "dark")


def test_it_prints_in_light_colors(browser: Any, compared: Path) -> None:
    page = _open(browser, compared, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(26, 33, 38)"
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.fixture(scope="module")
def explained(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `explain`, with a second run as a column."""
    other = tmp_path_factory.mktemp("beside") / "full"
    api.fit(_photos("dtd10"), other, model=f"local-dir:{demo_network()}", strategy="full", **_quick())
    image = next((Path(_photos("dtd10")) / "test").rglob("*.jpg"))
    api.explain(fitted.parent, image, beside=[other])
    return fitted.parent / "explain" / "index.html"


def test_the_page_of_explain_works_like_the_report(browser: Any, explained: Path) -> None:
    folder = explained.parent.as_uri()
    for scheme in ("light", "dark"):
        page = _open(browser, explained, color_scheme=scheme, viewport={"width": 390, "height": 844})
        # its pictures are files
        page.troubles = [
            trouble for trouble in page.troubles if not trouble.startswith(folder)
        ]  # its pictures are files
        assert page.troubles == []
        assert page.locator("figure img").count() == 4
        for picture in page.locator("figure img").all():
            assert picture.evaluate("one => one.complete && one.naturalWidth > 0")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        faint = [text for text in page.evaluate(_CONTRASTS) if contrast(*text[:2]) < READABLE]
        assert faint == []


def test_the_report_shows_the_columns_of_a_depth_study(browser: Any, explained: Path) -> None:
    page = _open(browser, explained.parents[1] / "report.html")
    names = [picture.get_attribute("alt") for picture in page.locator("#examples .overlay img").all()]
    assert names == ["Grad-CAM before fine-tuning", "Grad-CAM of full", "Grad-CAM after fine-tuning"]
    assert page.troubles == []
