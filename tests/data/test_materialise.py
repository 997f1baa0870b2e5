"""What comes as bytes or PIL images is on disk afterwards, unchanged, whole, and read only once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import Picture
from thawline.data.decode import decode
from thawline.data.materialise import Sample, entry_key, find_materialised, find_or_write, materialise
from thawline.data.sources import ImageSet, read_images, require_trainable
from thawline.errors import DataError


def _file(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def test_bytes_are_stored_as_they_are(tmp_path: Path, picture: Picture) -> None:
    contents = [_file(picture(0), "JPEG"), _file(picture(1), "PNG"), _file(picture(2), "WEBP"), b"no image at all"]
    images = materialise("x:y", [Sample(content, f"class {n}") for n, content in enumerate(contents)], tmp_path)
    assert [path.read_bytes() for path in images.paths] == contents
    names = ["00000000.jpg", "00000001.png", "00000002.webp", "00000003"]
    assert [images.name(item) for item in images.items] == [f"images/{name}" for name in names]
    assert images.classes == ("class 0", "class 1", "class 2", "class 3")


def _pictures() -> dict[str, Image.Image]:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    color = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    palette = Image.fromarray(color[..., :3]).quantize(7)
    palette.info["transparency"] = 3
    turned = Image.fromarray(color[:4, :, :3])
    turned.getexif()[0x0112] = 6
    return {
        "gray": Image.fromarray(gray),
        "black and white": Image.fromarray(gray > 30),
        "color": Image.fromarray(color[..., :3]),
        "alpha": Image.fromarray(color),
        "gray with alpha": Image.fromarray(color).convert("LA"),
        "palette": palette,
        "16 bit": Image.fromarray(gray.astype(np.uint16) * 1000),
        "32 bit": Image.fromarray(gray.astype(np.int32) * 100_000),
        "floats": Image.fromarray(gray / np.float32(7)),
        "cmyk": Image.fromarray(color[..., :3]).convert("CMYK"),
        "turned": turned,
    }


@pytest.mark.parametrize("name", _pictures())
def test_a_stored_picture_decodes_as_the_picture_itself(tmp_path: Path, name: str, picture: Picture) -> None:
    images = materialise("x", [Sample(_pictures()[name], "a"), Sample(picture(0), "b")], tmp_path)
    assert decode(images.paths[0]).tobytes() == decode(_pictures()[name]).tobytes()
    assert decode(images.paths[0]).size == decode(_pictures()[name]).size


def test_labels_and_splits_come_back(tmp_path: Path, picture: Picture) -> None:
    given = [
        ("train", 'a "b", c'),
        ("train", "ends in\nnew line?"),
        ("val", 'a "b", c'),
        ("test", "ends in\nnew line?"),
    ]
    samples = [Sample(picture(n), label, split) for n, (split, label) in enumerate(given)]  # type: ignore[arg-type]
    images = materialise("x", samples, tmp_path)
    assert sorted((item.split, item.label) for item in images.items) == sorted(given)
    assert read_images(images.root / "images.csv").items == images.items


def test_images_without_a_label_are_left_out_and_said(tmp_path: Path, picture: Picture) -> None:
    samples = [Sample(picture(0), "a"), Sample(picture(1), None), Sample(picture(2), " "), Sample(picture(3), "b")]
    images = materialise("x", samples, tmp_path, notes=["a note"])
    assert [path.stem for path in images.paths] == ["00000000", "00000003"]
    assert images.notes == ("a note", "2 unlabeled images in the dataset left out")


def test_a_finished_entry_is_found_and_the_source_not_asked(tmp_path: Path, picture: Picture) -> None:
    key = entry_key("hf:user/set", "version 1")
    assert find_materialised("hf:user/set", tmp_path, key) is None
    first = materialise("hf:user/set", [Sample(picture(n), str(n)) for n in range(3)], tmp_path, key=key, notes=["n"])
    assert find_materialised("hf:user/set", tmp_path, key) == first
    assert find_materialised("hf:user/set", tmp_path, entry_key("hf:user/set", "version 2")) is None
    assert first.root.name.startswith("hf-user-set-")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["images/00000001.png", "images.csv", "source.json", "seal.json"])
@pytest.mark.parametrize("damage", [_flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_entry_is_written_again_with_one_line(
    tmp_path: Path, picture: Picture, name: str, damage: Callable[[Path], object]
) -> None:
    def write() -> ImageSet:
        return materialise("x", [Sample(picture(n), str(n)) for n in range(3)], tmp_path, key="k", notes=["told"])

    first = find_or_write("x", tmp_path, "k", write)
    contents = [path.read_bytes() for path in first.paths]
    damage(first.root / name)
    again = find_or_write("x", tmp_path, "k", write)
    assert [path.read_bytes() for path in again.paths] == contents
    assert again.items == first.items
    assert len(again.notes) == 2
    assert again.notes[0].startswith("The cache entry ")
    assert find_or_write("x", tmp_path, "k", lambda: pytest.fail("read again")) == first


def test_a_damaged_entry_without_a_key_is_written_again(tmp_path: Path, picture: Picture) -> None:
    samples = [Sample(picture(n), str(n)) for n in range(3)]
    path = materialise("x", samples, tmp_path).paths[1]
    before = path.read_bytes()
    _flip(path)
    assert materialise("x", samples, tmp_path).paths[1] == path
    assert path.read_bytes() == before


def test_without_a_key_the_content_is_the_key(tmp_path: Path, picture: Picture) -> None:
    def read(*seeds: int, labels: str = "ab") -> Path:
        return materialise(
            "x", [Sample(picture(seed), label) for seed, label in zip(seeds, labels, strict=True)], tmp_path
        ).root

    assert read(0, 1) == read(0, 1)
    assert len({read(0, 1), read(0, 2), read(0, 1, labels="ba")}) == 3


class Killed(BaseException):
    pass


def test_a_run_that_is_killed_leaves_nothing(tmp_path: Path, picture: Picture) -> None:
    def samples() -> Iterator[Sample]:
        yield Sample(picture(0), "a")
        raise Killed

    with pytest.raises(Killed):
        materialise("x", samples(), tmp_path / "cache", key="k")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_source_is_blamed_for_its_own_errors(tmp_path: Path, picture: Picture) -> None:
    def samples() -> Iterator[Sample]:
        yield Sample(picture(0), "a")
        raise ConnectionError("gone\naway")

    with pytest.raises(DataError, match=r"^'hf:x' cannot be read \(gone away\)\.$"):
        materialise("hf:x", samples(), tmp_path)


def test_a_picture_that_cannot_be_loaded_is_named(tmp_path: Path, picture: Picture) -> None:
    half = Image.open(io.BytesIO(_file(picture(1), "PNG")[:150]))
    with pytest.raises(DataError, match=r"^'x': image 1 of train cannot be read as an image .*; replace it\.$"):
        materialise("x", [Sample(picture(0), "a", "train"), Sample(half, "b", "train")], tmp_path)


def test_nothing_labelled(tmp_path: Path, picture: Picture) -> None:
    with pytest.raises(DataError, match="'x' has no labeled images"):
        materialise("x", [Sample(picture(0), None)], tmp_path)


def test_one_class_is_too_few_and_the_source_is_named(tmp_path: Path, picture: Picture) -> None:
    images = materialise("hf:u/n", [Sample(picture(0), "a")], tmp_path)
    with pytest.raises(DataError, match="'hf:u/n' has only one class"):
        require_trainable(images, "hf:u/n")


def test_a_cache_that_cannot_be_written(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cache folder"):
        materialise("x", [Sample(picture(0), "a")], tmp_path / "file")
