"""Which images are worth showing, and their pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from tests.report.synthetic import noise
from thawline.report import thumbnails as module
from thawline.report.predictions import Guess, Predictions
from thawline.report.thumbnails import chosen, data_uri, thumbnails
from thawline.runs.files import read_thumbnails, write_thumbnails


def predictions(right: int, wrong: int) -> Predictions:
    hits = [Guess(f"hit{at}.png", 0, 0, 0.5 + at / 10_000) for at in range(right)]
    misses = [Guess(f"miss{at}.png", 0, 1, 0.5 + at / 10_000) for at in range(wrong)]
    return Predictions("test", ("a", "b"), (*hits, *misses))


def keep(folder: Path, root: Path) -> None:
    write_thumbnails(folder, thumbnails(predictions(2, 1), root, read_thumbnails(folder)))


def test_few_images_are_all_shown_mistakes_first() -> None:
    found = chosen(predictions(8, 5))
    assert len(found) == 13
    assert not any(guess.right for guess in found[:5])


def test_no_cell_and_no_page_is_flooded() -> None:
    found = chosen(predictions(400, 400))
    assert len([guess for guess in found if not guess.right]) == module.PER_CELL
    many = tuple(Guess(f"{at}.png", at % 30, (at + 1) % 30, 0.5) for at in range(3000))
    assert len(chosen(Predictions("test", tuple(map(str, range(30))), many))) == module.IN_ALL


def test_pictures_are_small_and_outlive_their_images(tmp_path: Path) -> None:
    for name in ("hit0.png", "miss0.png"):
        noise(tmp_path / name, 300)
    keep(tmp_path, tmp_path)
    for name in ("hit0.png", "miss0.png"):
        (tmp_path / name).unlink()
    pictures = read_thumbnails(tmp_path)
    assert set(pictures) == {"hit0.png", "miss0.png"}  # hit1.png is not there and spoils nothing
    kind, _, content = data_uri(pictures["hit0.png"]).partition(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (96, 96)


def test_a_run_without_pictures_has_none(tmp_path: Path) -> None:
    assert read_thumbnails(tmp_path) == {}


def test_a_picture_stays_when_its_image_has_moved_away(tmp_path: Path) -> None:
    for name in ("hit0.png", "miss0.png"):
        noise(tmp_path / name, 300)
    keep(tmp_path, tmp_path)
    before = read_thumbnails(tmp_path)
    keep(tmp_path, tmp_path / "elsewhere")
    assert read_thumbnails(tmp_path) == before != {}
