"""A folder with everything that real folders have and should not: each file is used or listed with its reason."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from thawline.config import DataConfig, Preprocessing
from thawline.data.check import check
from thawline.data.pixels import build_pixels
from thawline.data.sources import read_images
from thawline.data.splits import draw_splits
from thawline.records import write_json
from thawline.runs.files import read_splits, write_splits
from thawline.runs.setup import split_lines

COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))

SYSTEM, HIDDEN = "created by the operating system", "hidden (its name starts with a dot)"
ENDING = "not a supported image format (by its extension)"
NO_IMAGE = "cannot be read as an image (not an image format that Pillow knows)"


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _bomb(path: Path) -> None:
    """A PNG that claims 60,000 x 60,000 pixels."""
    header = (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100)))]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
            for name, content in chunks
        )
    )


def _truncated(path: Path) -> None:
    COLOURS.resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def _frames(path: Path) -> None:
    COLOURS.save(path, save_all=True, append_images=[COLOURS.rotate(180)])


def _gray(values: list[float], dtype: type) -> Image.Image:
    return Image.fromarray(np.array([values], dtype))


Write = Callable[[Path], object]

USED: dict[str, Write] = {
    "plain.jpg": COLOURS.save,
    "UPPER.JPG": COLOURS.save,
    "Mixed.JpEg": COLOURS.save,
    'it\'s "quoted".png': COLOURS.save,
    "line\nbreak, comma.png": COLOURS.save,
    "قطة صغيرة.png": COLOURS.save,
    "🌵 <b>&amp;.png": COLOURS.save,
    " leading and trailing .png": COLOURS.save,
    "=1+1.png": COLOURS.save,
    "-rf.png": COLOURS.save,
    "%2e%2e%2f.png": COLOURS.save,
    "png called.jpg": lambda path: COLOURS.save(path, "PNG"),
    "deep/er/and/deeper.webp": COLOURS.save,
    "rotated.jpg": lambda path: COLOURS.save(path, exif=_rotated()),
    "16 bit.png": _gray([0, 1000, 65535], np.uint16).save,
    "16 bit.tif": _gray([0, 1000, 65535], np.uint16).save,
    "32 bit.tif": _gray([-5, 100_000], np.int32).save,
    "float.tiff": _gray([0.0, np.nan, 0.5, np.inf], np.float32).save,
    "1 bit.png": COLOURS.convert("1").save,
    "gray.jpg": COLOURS.convert("L").save,
    "palette.gif": COLOURS.convert("P").save,
    "palette.png": lambda path: COLOURS.convert("P").save(path, transparency=3),
    "alpha.png": COLOURS.convert("RGBA").save,
    "gray alpha.png": COLOURS.convert("LA").save,
    "cmyk.jpg": COLOURS.convert("CMYK").save,
    "frames.gif": _frames,
    "frames.tif": _frames,
    "pixel.bmp": Image.new("RGB", (1, 1)).save,
    "profile.png": lambda path: COLOURS.save(
        path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
}

UNREADABLE: dict[str, tuple[Write, str]] = {
    "truncated.jpg": (_truncated, "cannot be read as an image (image file is truncated"),
    "text.jpg": (lambda path: path.write_text("no image"), NO_IMAGE),
    "page.png": (lambda path: path.write_text("<html>404 Not Found</html>"), NO_IMAGE),
    "postscript.jpg": (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), NO_IMAGE),
    "empty.jpg": (Path.touch, "cannot be read as an image (the file is empty)"),
    "bomb.png": (_bomb, "cannot be read as an image (Image size (3600000000 pixels) exceeds limit of 178956970 pixels"),
}

IGNORED: dict[str, tuple[Write, str]] = {
    ".hidden.png": (COLOURS.save, HIDDEN),
    "._plain.jpg": (Path.touch, HIDDEN),
    ".DS_Store": (Path.touch, HIDDEN),
    "Thumbs.db": (Path.touch, SYSTEM),
    "desktop.ini": (Path.touch, SYSTEM),
    "notes.txt": (Path.touch, ENDING),
    "no ending": (lambda path: COLOURS.save(path, "PNG"), ENDING),
    "document.pdf": (Path.touch, ENDING),
    "drawing.svg": (Path.touch, ENDING),
    "film.mp4": (Path.touch, ENDING),
    "pipe.png": (os.mkfifo, "not a regular file"),
    "nowhere.png": (lambda path: path.symlink_to("missing.png"), "a broken symbolic link"),
    "itself.png": (lambda path: path.symlink_to(path.name), "a broken symbolic link"),
    "outside.png": (lambda path: path.symlink_to("../../outside.png"), "a symbolic link to outside the folder"),
    "system": (lambda path: path.symlink_to("/"), "a symbolic link to outside the folder"),
    "circle": (lambda path: path.symlink_to(".."), "a symbolic-link loop"),
    "here": (lambda path: path.symlink_to("."), "a symbolic-link loop"),
    os.fsdecode(b"latin-1 \xe9.png"): (lambda path: path.touch(), "its name is not valid Unicode"),
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """`odd` has every oddity, `usual` is an ordinary class; outside of both lies more."""
    root = tmp_path / "hostile"
    odd, usual = root / "odd", root / "usual"
    (odd / "deep" / "er" / "and").mkdir(parents=True)
    usual.mkdir()
    COLOURS.save(tmp_path / "outside.png")
    for name, write in USED.items():
        write(odd / name)
    for name, (write, _) in {**UNREADABLE, **IGNORED}.items():
        write(odd / name)
    for number in range(9):
        COLOURS.rotate(number).save(usual / f"{number}.png")
    for folder in ("__MACOSX", ".git", "no images"):
        (root / folder).mkdir()
    COLOURS.save(root / "__MACOSX" / "a.png")
    COLOURS.save(root / "loose.png")
    return root


def test_every_file_is_used_or_listed_with_its_reason(
    hostile: Path, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    images = read_images(hostile, on_bad="skip")
    store = build_pixels(images.paths, preprocessing, cache=tmp_path / "cache", on_bad="skip")
    found = check(images, facts=store.facts)

    reasons = {entry.path.relative_to(hostile).as_posix(): entry.reason for entry in images.ignored}
    assert reasons == {
        **{f"odd/{name}": reason for name, (_, reason) in IGNORED.items()},
        "__MACOSX": SYSTEM,
        ".git": HIDDEN,
        "no images": "a class folder without images",
        "loose.png": "outside the class folders",
    }
    unreadable = {images.name(images.items[index]): found.facts[index].error for index in found.unreadable}
    assert unreadable.keys() == {f"odd/{name}" for name in UNREADABLE}
    for name, (_, reason) in UNREADABLE.items():
        assert str(unreadable[f"odd/{name}"]).startswith(reason)
        assert "\n" not in str(unreadable[f"odd/{name}"])
    used = {images.name(item) for item, file in zip(images.items, found.facts, strict=True) if file.error is None}
    assert used == {f"odd/{name}" for name in USED} | {f"usual/{number}.png" for number in range(9)}

    listed = used | unreadable.keys() | reasons.keys()
    for folder, _, files in os.walk(hostile):
        for file in files:
            path = (Path(folder) / file).relative_to(hostile)
            assert any(part.as_posix() in listed for part in (path, *path.parents)), path


def test_what_comes_of_it_can_be_written_and_read(hostile: Path, tmp_path: Path) -> None:
    images = read_images(hostile, on_bad="skip")
    found = check(images)
    write_json(tmp_path / "check.json", found.result())
    written = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert len(written["unreadable"]) == len(UNREADABLE)
    assert len(written["ignored"]) == len(images.ignored)
    splits = draw_splits(images, found.hashes, DataConfig(), skip=found.unreadable)
    write_splits(tmp_path / "splits.csv", split_lines(images, splits))
    assert read_splits(tmp_path / "splits.csv") == split_lines(images, splits)
    assert [index for index, split in enumerate(splits.assignment) if split is None] == list(found.unreadable)


def test_the_tree_is_the_same_whatever_the_order_on_disk(hostile: Path) -> None:
    images = read_images(hostile, on_bad="skip")
    assert [item.path.as_posix() for item in images.items] == sorted(item.path.as_posix() for item in images.items)
    assert images == read_images(hostile, on_bad="skip")
