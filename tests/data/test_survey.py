from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from thawline.data.survey import difference_hash, examine, survey

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
