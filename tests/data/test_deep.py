"""Samples of more than 8 bits, in files that Pillow opens and does not write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults.pictures import png, pnm, tiff
from thawline import api
from thawline.data.check import check
from thawline.data.decode import bit_depth_of, decode, largest_sample, load
from thawline.data.sources import read_images
from thawline.errors import DataError

TWELVE = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(8, 8)
"""All of 12 bits, and none of the values that are left of them when the lower 8 are cut off."""
COLOURS = np.stack([TWELVE, TWELVE[::-1], TWELVE.T], axis=-1)
OPAQUE = np.full((8, 8, 1), 65535, np.uint16)


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
def test_all_16_bits_of_color_keep_the_upper_8(name: str) -> None:
    assert np.array_equal(np.asarray(decode(FILES[name])), COLOURS >> 8)


def test_a_stated_range_is_what_pillow_scales_by() -> None:
    for samples in (TWELVE, COLOURS):
        assert largest_sample(load(pnm(samples, 4095))) == 0
        for depth in (12, 16):
            scaled = np.asarray(decode(pnm(samples, 4095), depth))
            assert np.abs(scaled - (samples if samples.ndim == 3 else samples[..., None]) / 4095 * 255).max() <= 0.51


def test_compressed_planes_are_refused_only_where_lower_bits_are_needed() -> None:
    with pytest.raises(DataError, match="16-bit colors in compressed planes; store them interleaved"):
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
    assert line.startswith("24 images of 32-bit or floating-point values: each is scaled from its own minimum")


@pytest.mark.parametrize("name", ["png with alpha", "tiff in planes", "ppm"])
def test_the_range_of_colors_over_the_dataset_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path / "cache"))
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            (tmp_path / "data" / label / f"{number}.{name.split()[0].replace('tiff', 'tif')}").write_bytes(FILES[name])
    found = api.check(tmp_path / "data").warnings
    assert any(line.startswith("The 16-bit images hold 12-bit values (at most 4,095 of 65,535)") for line in found)
