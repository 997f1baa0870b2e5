from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from thawline.data import decode as decoder
from thawline.data.decode import (
    DECODING_RULE,
    UnreadableError,
    bit_depth_of,
    decode,
    largest_sample,
    readable_endings,
    to_rgb,
)
from thawline.errors import DataError


def _bytes(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


COLORS = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA"])
def test_rgb_stays_as_it_is(format: str) -> None:
    assert np.array_equal(_pixels(decode(_bytes(COLORS, format))), np.asarray(COLORS))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_modes_become_rgb_as_pillow_does_it(mode: str) -> None:
    image = COLORS.convert(mode)
    assert np.array_equal(_pixels(decode(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_transparency_becomes_white(mode: str) -> None:
    opaque = COLORS.convert("L").convert("RGBA")
    opaque.putpixel((0, 0), (10, 10, 10, 0))
    intermediate = opaque.convert("LA") if mode == "La" else opaque
    pixels = _pixels(decode(intermediate.convert(mode)))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(pixels[1:], np.asarray(COLORS.convert("L").convert("RGB"))[1:])


def test_half_transparency_is_mixed_with_white() -> None:
    assert decode(Image.new("RGBA", (1, 1), (0, 100, 200, 128))).getpixel((0, 0)) == (127, 177, 227)


def test_transparent_palette_and_color_key() -> None:
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    assert _pixels(decode(_bytes(palette, transparency=0))).tolist() == [[[255] * 3, [10, 20, 30]]]
    assert _pixels(decode(_bytes(palette, transparency=b"\x00\xff"))).tolist() == [[[255] * 3, [10, 20, 30]]]
    keyed = Image.new("RGB", (1, 1), (1, 2, 3))
    assert _pixels(decode(_bytes(keyed, transparency=(1, 2, 3)))).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_divided_by_257(format: str) -> None:
    image = Image.fromarray(np.array([[0, 257, 128, 129, 65535, 1000]], np.uint16))
    gray = _pixels(decode(_bytes(image, format)))[0, :, 0]
    assert gray.tolist() == [0, 1, 0, 1, 255, 4]


def test_floats_and_32_bit_integers_are_stretched() -> None:
    floats = Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan, np.inf]], np.float32))
    assert _pixels(decode(_bytes(floats, "TIFF")))[0, :, 0].tolist() == [0, 128, 255, 0, 0]
    integers = Image.fromarray(np.array([[100_000, 100_051, 100_255]], np.int32))
    assert _pixels(decode(_bytes(integers, "TIFF")))[0, :, 0].tolist() == [0, 51, 255]
    assert _pixels(decode(Image.new("F", (2, 2), 7.5))).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_rotation_is_honored(orientation: int, format: str) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # one bright corner
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    image = decode(_bytes(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options))
    assert np.abs(_pixels(image).astype(int) - upright).max() <= 8


def test_the_first_of_many_frames_is_used() -> None:
    frames = [Image.new("RGB", (3, 3), color) for color in ("red", "blue")]
    for format in ("GIF", "TIFF", "WEBP", "PNG"):
        content = _bytes(frames[0], format, save_all=True, append_images=frames[1:])
        assert np.abs(_pixels(decode(content)).astype(int) - [255, 0, 0]).max() <= 2


def test_broken_exif_is_no_rotation() -> None:
    assert decode(_bytes(COLORS, "JPEG", exif=b"Exif\x00\x00broken" * 3)).size == COLORS.size


def test_a_single_pixel(tmp_path: Path) -> None:
    assert decode(_bytes(Image.new("L", (1, 1), 7))).getpixel((0, 0)) == (7, 7, 7)


def _truncated(path: Path) -> None:
    content = _bytes(COLORS.resize((200, 200)), "JPEG")
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_truncated, "truncated"),
        (lambda path: path.write_text("this is text"), "not an image format"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image format"),
    ],
)
def test_what_is_no_image_gets_one_line(tmp_path: Path, write: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "bad\nname.jpg"
    write(path)
    with pytest.raises(DataError) as error:
        decode(path)
    message = str(error.value)
    assert repr(str(path)) in message
    assert reason in message
    assert "replace or remove it" in message
    assert "\n" not in message


def test_bytes_that_were_changed_at_random_never_escape_as_another_error() -> None:
    generator = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "ICO", "PCX", "SGI", "TGA", "JPEG2000", "DDS", "PSD"):
        content = _bytes(COLORS.resize((32, 32)), format) if format != "PSD" else b"8BPS" + bytes(200)
        for _ in range(25):
            broken = bytearray(content)
            for position in generator.integers(0, len(broken), 6):
                broken[position] = generator.integers(0, 256)
            with suppress(DataError):
                decode(bytes(broken))


def test_huge_images_are_refused_before_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    content = _bytes(Image.new("1", (400, 400)))
    monkeypatch.setattr(decoder, "LARGEST", 400 * 399)
    with pytest.raises(DataError, match="too large"):
        decode(content)


def test_a_decompression_bomb_is_refused_without_a_warning() -> None:
    content = _bytes(Image.new("1", (9500, 9500)))  # 90 million pixels in 11 kB
    with pytest.raises(DataError, match="too large"):
        decode(content)


def test_threads_see_no_warnings_and_leave_the_filters_alone() -> None:
    before = warnings.filters[:]
    content = _bytes(COLORS, "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x05\x01\x12")
    with ThreadPoolExecutor(4) as pool:
        sizes = {image.size for image in pool.map(decode, [content] * 64)}
    assert sizes == {COLORS.size}
    assert warnings.filters == before


def test_endings_leave_out_what_cannot_be_decoded() -> None:
    endings = readable_endings()
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".bmp", ".gif", ".mpo", ".jp2"} <= endings
    assert endings.isdisjoint({".pdf", ".eps", ".ps", ".h5", ".mpg", ".wmf"})


def test_the_rule_is_one_paragraph() -> None:
    assert "\n" not in DECODING_RULE
    assert "divided by 257" in DECODING_RULE


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_gray_values_of_fewer_bits_take_the_whole_range(bits: int) -> None:
    largest = (1 << bits) - 1
    values = np.linspace(0, largest, 64).round().astype(np.uint16).reshape(8, 8)
    image = Image.fromarray(values)
    assert bit_depth_of(largest_sample(image)) == bits
    gray = np.asarray(to_rgb(image, bits))[..., 0]
    assert np.abs(gray - values / largest * 255).max() <= 0.5
    if bits < 16:
        with pytest.raises(UnreadableError, match=f"more than {bits} bits hold"):
            to_rgb(Image.fromarray(values + 1), bits)


def test_every_16_bit_value_is_rounded_as_before() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(values)))[..., 0], (values.astype(int) + 128) // 257)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "I", "F", "RGBA", "CMYK"])
def test_other_modes_know_no_bit_depth(mode: str) -> None:
    image = Image.linear_gradient("L").convert(mode)
    assert largest_sample(image) == 0
    assert np.array_equal(np.asarray(to_rgb(image, 8)), np.asarray(to_rgb(image)))
