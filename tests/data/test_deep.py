"""Samples of more than 8 bits, in files that Pillow opens and does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from thawline.data.check import check
from thawline.data.decode import bit_depth_of, decode, largest_sample, load
from thawline.data.sources import read_images
from thawline.errors import DataError

TWELVE = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(8, 8)
"""All of 12 bits, and none of the values that are left of them when the lower 8 are cut off."""
COLOURS = np.stack([TWELVE, TWELVE[::-1], TWELVE.T], axis=-1)
OPAQUE = np.full((8, 8, 1), 65535, np.uint16)


def png(samples: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16-bit samples."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def tiff(
    samples: np.ndarray, *, order: str = "<", planar: bool = False, deflate: bool = False, extra: int | None = None
) -> bytes:
    """A TIFF of unsigned samples [H, W] or [H, W, C]; `extra` = what the fourth channel is (0 unknown, 2 alpha)."""
    height, width, channels = (*samples.shape, 1)[:3]
    planes = [samples[..., number] for number in range(channels)] if planar else [samples]
    strips = [np.ascontiguousarray(plane).astype(samples.dtype.newbyteorder(order)).tobytes() for plane in planes]  # type: ignore[arg-type]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    tags: list[tuple[int, str, Sequence[int]]] = [
        *((256, "H", [width]), (257, "H", [height]), (258, "H", [8 * samples.itemsize] * channels)),
        *((259, "H", [8 if deflate else 1]), (262, "H", [2 if channels > 1 else 1]), (273, "I", [0] * len(strips))),
        *((277, "H", [channels]), (278, "H", [height]), (279, "I", [len(strip) for strip in strips])),
        *((284, "H", [2 if planar else 1]), *([(338, "H", [extra])] if extra is not None else [])),
        (339, "H", [1] * channels),
    ]  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    entries, outside = b"", b""
    start = behind + sum(size for _, kind, values in tags if (size := struct.calcsize(kind) * len(values)) > 4)
    for tag, kind, values in tags:
        given = [start + sum(map(len, strips[:n])) for n in range(len(strips))] if tag == 273 else values
        packed = struct.pack(f"{order}{len(given)}{kind}", *given)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", behind + len(outside))
        outside += packed if len(packed) > 4 else b""
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(given)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + b"\0\0\0\0" + outside + b"".join(strips)


def pnm(samples: np.ndarray, largest: int = 65535) -> bytes:
    kind = "P6" if samples.ndim == 3 else "P5"
    return f"{kind}\n8 8\n{largest}\n".encode() + samples.astype(">u2").tobytes()


FILES = {
    "png": png(COLOURS, 2),
    "png with alpha": png(np.concatenate([COLOURS, OPAQUE], axis=-1), 6),
    "png of gray and alpha": png(np.concatenate([TWELVE[..., None], OPAQUE], axis=-1), 4),
    "png of gray": png(TWELVE, 0),
    "tiff": tiff(COLOURS),
    "tiff, big-endian": tiff(COLOURS, order=">"),
    "tiff, deflated": tiff(COLOURS, deflate=True),
    "tiff, deflated and big-endian": tiff(COLOURS, order=">", deflate=True),
    "tiff in planes": tiff(COLOURS, planar=True),
    "tiff in planes, big-endian": tiff(COLOURS, order=">", planar=True),
    "tiff with alpha": tiff(np.concatenate([COLOURS, OPAQUE], axis=-1), extra=2),
    "tiff with a fourth channel": tiff(np.concatenate([COLOURS, OPAQUE], axis=-1), extra=0),
    "tiff of gray": tiff(TWELVE),
    "ppm": pnm(COLOURS),
    "pgm": pnm(TWELVE),
}


@pytest.mark.parametrize("name", FILES)
def test_12_bits_in_16_take_the_whole_range(name: str) -> None:
    assert bit_depth_of(largest_sample(load(FILES[name]))) == 12
    scaled = np.asarray(decode(FILES[name], bit_depth=12))
    stored = TWELVE[..., None] if "gray" in name or name == "pgm" else COLOURS
    assert np.abs(scaled - stored / 4095 * 255).max() <= 0.5
    with pytest.raises(DataError, match="16-bit values up to 4095, more than 10 bits hold"):
        decode(FILES[name], bit_depth=10)


@pytest.mark.parametrize("name", ["png", "png with alpha", "tiff", "tiff in planes", "tiff with alpha"])
def test_all_16_bits_of_colour_keep_the_upper_8(name: str) -> None:
    assert np.array_equal(np.asarray(decode(FILES[name])), COLOURS >> 8)


def test_a_stated_range_is_what_pillow_scales_by() -> None:
    for samples in (TWELVE, COLOURS):
        assert largest_sample(load(pnm(samples, 4095))) == 0
        for depth in (12, 16):
            scaled = np.asarray(decode(pnm(samples, 4095), depth))
            assert np.abs(scaled - (samples if samples.ndim == 3 else samples[..., None]) / 4095 * 255).max() <= 0.51


def test_compressed_planes_are_refused_only_where_lower_bits_are_needed() -> None:
    with pytest.raises(DataError, match="16-bit colours in compressed planes; store them interleaved"):
        decode(tiff(COLOURS, planar=True, deflate=True))
    bright = COLOURS * 16
    assert np.array_equal(np.asarray(decode(tiff(bright, planar=True, deflate=True))), bright >> 8)


def test_transparency_of_16_bits_is_over_white() -> None:
    alpha = OPAQUE.copy()
    alpha[0, 0] = 0
    for content in (
        png(np.concatenate([COLOURS, alpha], axis=-1), 6),
        png(np.concatenate([TWELVE[..., None], alpha], axis=-1), 4),
    ):
        assert decode(content, bit_depth=12).getpixel((0, 0)) == (255, 255, 255)


def test_unsigned_32_bits_are_not_taken_for_signed_ones() -> None:
    values = np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32)
    assert np.asarray(decode(tiff(values)))[0, :, 0].tolist() == [0, 128, 255]


def test_check_says_what_is_lost(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(12):
            values = np.random.default_rng([number, ord(name)]).integers(0, 1 << 20, (8, 8)).astype(np.uint32)
            (tmp_path / name / f"{number}.tif").write_bytes(tiff(values))
    (line,) = check(read_images(tmp_path)).warnings
    assert line.startswith("24 images of 32-bit or floating-point values: each is stretched from its own darkest")
