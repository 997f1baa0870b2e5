from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from thawline.config import Preprocessing
from thawline.data import survey as survey_module
from thawline.data.decode import decode
from thawline.data.pixels import build_pixels, hash_files
from thawline.data.sources import read_images
from thawline.data.survey import difference_hash, examine, survey
from thawline.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import Picture


def test_facts_of_one_file(tmp_path: Path, picture: Picture) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (30, 20), 9).save(tmp_path / "gray.jpg", exif=exif)
    facts = examine(tmp_path / "gray.jpg").facts
    assert (facts.format, facts.mode, facts.width, facts.height) == ("JPEG", "L", 30, 20)
    assert facts.orientation == 6
    assert facts.frames == 1
    assert facts.error is None
    frames = [picture(0), picture(1)]
    frames[0].save(tmp_path / "many.gif", save_all=True, append_images=frames[1:])
    assert examine(tmp_path / "many.gif").facts.frames == 2
    assert examine(tmp_path / "gone.jpg").facts.error == "cannot be opened (No such file or directory)"


def test_results_come_in_order_whatever_the_threads(tmp_path: Path, picture: Picture) -> None:
    paths = []
    for number in range(50):
        paths.append(tmp_path / f"{number:02}.png")
        picture(number, 8 + 40 * (number % 5 == 0), 8).save(paths[-1])
    expected = [(8, 8 + 40 * (number % 5 == 0), 3) for number in range(50)]
    for threads in (1, 4):
        found = list(survey(paths, threads=threads, transform=lambda image: image))
        assert [image.pixels.shape for image in found if image.pixels is not None] == expected


def test_an_abandoned_survey_leaves_no_threads(tmp_path: Path, picture: Picture) -> None:
    picture(0).save(tmp_path / "a.png")
    before = threading.active_count()
    surveyed = survey([tmp_path / "a.png"] * 500, threads=3)
    next(surveyed)
    surveyed.close()
    assert threading.active_count() == before


def test_copies_look_alike_and_other_images_do_not(picture: Picture) -> None:
    def distance(a: Image.Image, b: Image.Image) -> int:
        return (int(difference_hash(a), 16) ^ int(difference_hash(b), 16)).bit_count()

    image = picture(0, 200, 150)
    assert distance(image, image.resize((90, 70))) <= 8
    assert distance(image, image.convert("L").convert("RGB")) <= 8
    assert min(distance(image, picture(seed, 200, 150)) for seed in range(1, 20)) > 20


def test_what_is_not_a_regular_file_is_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(2**36)
    paths = [tmp_path / "pipe.png", Path("/dev/zero"), tmp_path / "link.png", tmp_path / "huge.png", tmp_path]
    assert [file.facts.error for file in survey(paths, threads=2)] == [
        "cannot be opened (not a regular file)",
        "cannot be opened (not a regular file)",
        "cannot be opened (not a regular file)",
        "cannot be opened (larger than 1,024 MiB)",
        "cannot be opened (Is a directory)",
    ]
    assert hash_files(paths) == [""] * len(paths)


def test_a_table_of_devices_and_pipes_ends_with_one_line(tmp_path: Path, preprocessing: Preprocessing) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "images.csv").write_text("path,label\n/dev/zero,a\npipe.png,b\n", encoding="utf-8")
    images = read_images(tmp_path / "images.csv")
    with pytest.raises(DataError, match=r"2 of 2 images cannot be used; first: '.*(zero|pipe.png)'.*not a regular"):
        build_pixels(images.paths, preprocessing, cache=tmp_path / "cache")


@pytest.mark.parametrize("step", ["load", "to_rgb", "difference_hash"])
def test_an_image_that_does_not_fit_into_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(survey_module, step, fail)
    (file,) = survey([tmp_path / "a.png"], threads=1)
    assert (file.facts.error, file.facts.sha256) == ("needs more memory than is available", "")


def test_decoding_a_file_alone_has_the_same_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(DataError, match="not a regular file"):
            decode(path)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(DataError, match="the image needs more memory than is available; "):
        decode(b"x")
