"""Heat maps over images, and several of them side by side with captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SMALLEST_SIDE = 224
"""Side in pixels; smaller images are enlarged so that details are visible."""

_INFERNO = (
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 "
    "fcffa4"
)
"""matplotlib's inferno (CC0) at 17 places, within 3 % of it everywhere: perceptually uniform, dark is low."""
_STRONGEST = 0.7
"""Opacity of the color where the heat is 1; the image always shows through."""
_GAP, _LINE, _FONT_SIZE = 12, 18, 13
_PAPER, _INK, _FAINT = "#ffffff", "#1b1b1f", "#5c5c66"

Pixels = NDArray[np.uint8]
Heat = NDArray[np.float32]


@dataclass(frozen=True)
class Panel:
    """An image with its caption."""

    image: Image.Image
    title: str
    lines: tuple[str, ...] = ()
    """Below the title."""


def enlarged(pixels: Pixels) -> Image.Image:
    """An image [S, S, 3], enlarged by a whole factor to at least `SMALLEST_SIDE`."""
    image = Image.fromarray(pixels)
    factor = max(1, math.ceil(SMALLEST_SIDE / image.width))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)


def overlay(pixels: Pixels, heat: Heat) -> Image.Image:
    """The image [S, S, 3] in gray under its heat map [S, S] from 0 to 1: the hotter, the more opaque the color."""
    below = np.asarray(enlarged(pixels).convert("L").convert("RGB"), np.float32)
    fine = np.asarray(Image.fromarray(heat).resize(below.shape[1::-1], Image.Resampling.BILINEAR))[..., None]
    share = _STRONGEST * fine
    return Image.fromarray(np.round(below * (1 - share) + colors(fine[..., 0]) * share).astype(np.uint8))


def colors(values: Heat) -> NDArray[np.float32]:
    """RGB [..., 3] from 0 to 255 for values from 0 to 1."""
    table = np.array([list(bytes.fromhex(color)) for color in _INFERNO.split()], np.float32)
    places = np.linspace(0, 1, len(table))
    channels = [np.interp(values, places, table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def side_by_side(panels: Sequence[Panel]) -> Image.Image:
    """The panels in a row on white, titles and lines below the images and cut to their width."""
    width, height = panels[0].image.size
    below = _LINE * (1 + max(len(panel.lines) for panel in panels))
    sheet = Image.new("RGB", (_GAP + len(panels) * (width + _GAP), height + below + 2 * _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for number, panel in enumerate(panels):
        left = _GAP + number * (width + _GAP)
        sheet.paste(panel.image, (left, _GAP))
        for row, text in enumerate((panel.title, *panel.lines)):
            top = _GAP + height + 3 + row * _LINE
            draw.text((left, top), _fitting(text, font, width), fill=_FAINT if row else _INK, font=font)
    return sheet


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, or as much of its start as fits into a number of pixels."""
    kept = text[:width]  # no letter is narrower than a pixel, and measuring a long name is slow
    while kept and font.getlength(kept if kept == text else f"{kept}...") > width:
        kept = kept[:-1]
    return kept if kept == text else f"{kept}..."
