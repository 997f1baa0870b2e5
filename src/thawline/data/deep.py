"""Loads images with samples of more than 8 bits, of which Pillow alone keeps the upper bits or misreads them."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

_COLOR = re.compile(r"(RGB|RGBA|RGBX|LA|R|G|B|A|X);16([BLN])")
"""Pillow's raw modes of 16-bit samples that it unpacks to their upper bytes."""
_OPPOSITE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_UNSIGNED = re.compile(r"I;32[BN]?")
_DARK = 64
"""Upper bytes that are all below this belong to samples of at most 14 bits."""
_SAMPLES = "thawline samples"

Tile = Any
"""A tuple of codec, box, offset and arguments, which has no public type."""


def load_samples(image: ImageFile, content: bytes) -> None:
    """Load an image opened from `content`, with all bits of its samples (see `samples`).

    Raises what Pillow raises, and `ValueError` if the lower bits are needed and cannot be read.
    """
    tiles = image.tile = [_mended(tile, image) for tile in image.tile]
    image.load()
    if (values := _values(image, tiles, content)) is not None:
        image.info[_SAMPLES] = values


def samples(image: Image.Image) -> np.ndarray | None:
    """Gray or color samples of a loaded image as stored, [H, W] or [H, W, 3] uint16, or [H, W] uint32; without alpha.

    None for samples of 8 bits, signed and floating-point ones, and those that Pillow has scaled by their stated range.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image)
    values: np.ndarray | None = image.info.get(_SAMPLES)
    return values


def _values(image: ImageFile, tiles: Sequence[Tile], content: bytes) -> np.ndarray | None:
    raw = _raw_mode(tiles[0]) if tiles else ""
    if image.format == "PPM":
        return _of_ppm(image, tiles[0], content)
    if image.format == "TIFF" and _UNSIGNED.fullmatch(raw):
        return np.asarray(image).view(np.uint32)
    return _colors(image, tiles, content) if _COLOR.fullmatch(raw) else None


def _of_ppm(image: ImageFile, tile: Tile, content: bytes) -> np.ndarray | None:
    """Samples of a file whose stated range is all 16 bits."""
    if _raw_mode(tile) == "I;16B":
        return np.asarray(image).astype(np.uint16)
    if (tile[0], tile[3]) != ("ppm", ("RGB", 65535)):
        return None
    shape = (image.height, image.width, 3)
    return np.frombuffer(content, ">u2", int(np.prod(shape)), tile[2]).reshape(shape).astype(np.uint16)


def _colors(image: ImageFile, tiles: Sequence[Tile], content: bytes) -> np.ndarray | None:
    upper = np.asarray(image)
    if _is_planar(image) and tiles[0][0] == "libtiff":  # which unpacks planes by its own raw modes
        if upper[..., :3].max() < _DARK:
            raise ValueError("16-bit colors in compressed planes; store them interleaved or uncompressed")
        return None
    # The unpacker of the opposite byte order finds the lower bytes.
    other = Image.open(io.BytesIO(content), formats=[str(image.format)])
    other.tile = [_with_raw_mode(_mended(tile, other), _opposite) for tile in other.tile]
    other.load()
    lower = np.asarray(other)
    gray = _raw_mode(tiles[0]).startswith("LA")  # two bytes of gray and two of alpha
    found: np.ndarray = upper[..., 0 if gray else slice(3)].astype(np.uint16) << 8
    return np.asarray(found | lower[..., 1 if gray else slice(3)])


def _opposite(raw: str) -> str:
    return "RGBA" if raw.startswith("LA") else raw[:-1] + _OPPOSITE[raw[-1]]


def _mended(tile: Tile, image: ImageFile) -> Tile:
    """Pillow unpacks uncompressed planes of 16-bit samples as if they had 8 bits."""
    if tile[0] != "raw" or not _is_planar(image) or max(image.tag_v2.get(258, (8,))) != 16:  # type: ignore[attr-defined]
        return tile
    order = "B" if image.tag_v2.prefix == b"MM" else "L"  # type: ignore[attr-defined]
    return _with_raw_mode(tile, lambda raw: f"{raw};16{order}" if len(raw) == 1 else raw)


def _is_planar(image: ImageFile) -> bool:
    return image.format == "TIFF" and image.tag_v2.get(284) == 2  # type: ignore[attr-defined]


def _raw_mode(tile: Tile) -> str:
    first = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
    return first if isinstance(first, str) else ""


def _with_raw_mode(tile: Tile, change: Any) -> Tile:
    raw = change(_raw_mode(tile))
    return tile._replace(args=(raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw)
