"""Pictures of printed letters: free typefaces, rendered and distorted. What the demo's network is pretrained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
"""No digits: they are the demo's target. No lower-case letter that, once scaled, is a capital (c, o, s, ...)."""
CANVAS = 64
"""Side of a rendered glyph, in pixels: twice the side the network sees, so that warping does not alias."""
SIDE = CANVAS // 2


@dataclass(frozen=True)
class Typeface:
    """A family of free fonts."""

    name: str
    package: str
    pattern: str
    licence: str


TYPEFACES = (
    Typeface("Cantarell", "fonts-cantarell", "opentype/cantarell/*.otf", "OFL-1.1"),
    Typeface("Comfortaa", "fonts-comfortaa", "truetype/comfortaa/*.ttf", "OFL-1.1"),
    Typeface("Comic Neue", "fonts-comic-neue", "opentype/comic-neue/*.otf", "OFL-1.1"),
    Typeface("Dancing Script", "fonts-dancingscript", "opentype/dancingscript/*.otf", "OFL-1.1"),
    Typeface("DejaVu", "fonts-dejavu-core, -extra", "truetype/dejavu/*.ttf", "Bitstream Vera, changes public domain"),
    Typeface("EB Garamond", "fonts-ebgaramond", "opentype/ebgaramond/EBGaramond12*.otf", "OFL-1.1"),
    Typeface("Lato", "fonts-lato", "truetype/lato/*.ttf", "OFL-1.1"),
    Typeface("Liberation 2", "fonts-liberation2", "truetype/liberation2/*.ttf", "OFL-1.1"),
    Typeface("Open Sans", "fonts-open-sans", "truetype/open-sans/*.ttf", "Apache-2.0"),
    Typeface("Quicksand", "fonts-quicksand", "truetype/quicksand/*.ttf", "OFL-1.1"),
    Typeface("Roboto Slab", "fonts-roboto-slab", "opentype/roboto/slab/*.otf", "Apache-2.0"),
)


def find_fonts(root: Path) -> list[Path]:
    """Every font file of `TYPEFACES` under `root`, in a fixed order."""
    found = {typeface: sorted(root.glob(typeface.pattern)) for typeface in TYPEFACES}
    missing = sorted({typeface.package for typeface, files in found.items() if not files})
    if missing:
        raise SystemExit(f"{root} lacks the fonts of {'; '.join(missing)}: install these Debian packages.")
    return [file for files in found.values() for file in files]


def render(fonts: list[Path]) -> Tensor:
    """White glyphs on black, centered, the longer side filling 3/4 of the canvas: uint8 `[font, character, 64, 64]`."""
    sheets = [np.stack([_glyph(ImageFont.truetype(str(font), 96), letter) for letter in CHARACTERS]) for font in fonts]
    return torch.from_numpy(np.stack(sheets))


def _glyph(font: ImageFont.FreeTypeFont, letter: str) -> NDArray[np.uint8]:
    large = Image.new("L", (256, 256))
    ImageDraw.Draw(large).text((128, 128), letter, fill=255, font=font, anchor="mm")
    glyph = large.crop(large.getbbox())
    scale = 0.75 * CANVAS / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    canvas = Image.new("L", (CANVAS, CANVAS))
    small = glyph.resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste(small, ((CANVAS - width) // 2, (CANVAS - height) // 2))
    return np.asarray(canvas)


def distort(glyphs: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of glyphs, no two alike: uint8 `[B, 64, 64]` to float `[B, 1, 32, 32]` between 0 and 1."""
    pictures = glyphs[:, None].float() / 255
    pictures = _warp(_thicken(pictures, generator), generator)
    pictures = _blur(F.avg_pool2d(pictures, 2), generator)
    return _shade(pictures, generator)


def _uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return (low + (high - low) * torch.rand(count, generator=generator)).view(-1, 1, 1, 1)


def _thicken(pictures: Tensor, generator: torch.Generator) -> Tensor:
    amount = _uniform(-0.6, 1.0, len(pictures), generator)
    thin = -F.max_pool2d(-pictures, 3, stride=1, padding=1)
    thick = F.max_pool2d(pictures, 5, stride=1, padding=2)
    return pictures + amount.clamp(min=0) * (thick - pictures) + (-amount).clamp(min=0) * (thin - pictures)


def _warp(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Rotation up to 15 degrees, shear 0.25, each side scaled by 0.75 to 1.25, shift up to a sixteenth of the side."""
    count = len(pictures)
    spans = ((-math.pi / 12, math.pi / 12), (-0.25, 0.25), (0.8, 1.33), (0.8, 1.33))
    angle, shear, wide, high = (_uniform(*span, count, generator).view(-1) for span in spans)
    shift = (torch.rand(count, 2, 1, generator=generator) - 0.5) / 4
    rows = [wide * angle.cos(), shear - angle.sin(), angle.sin(), high * angle.cos()]
    matrix = torch.cat([torch.stack(rows, 1).view(-1, 2, 2), shift], dim=2)
    grid = F.affine_grid(matrix, [count, 1, CANVAS, CANVAS], align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


def _blur(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian, standard deviation up to 1.5 pixels, drawn per picture."""
    sigma = _uniform(0.1, 1.5, len(pictures), generator)
    kernel = torch.exp(-0.5 * (torch.arange(-3, 4).view(1, 1, 1, 7) / sigma) ** 2)
    kernel = kernel / kernel.sum(dim=3, keepdim=True)
    one_batch = pictures.transpose(0, 1)
    across = F.conv2d(one_batch, kernel, padding=(0, 3), groups=len(pictures))
    return F.conv2d(across, kernel.transpose(2, 3), padding=(3, 0), groups=len(pictures)).transpose(0, 1)


def _shade(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Random contrast; half of the pictures dark on light; noise up to 5 % on half of them."""
    count = len(pictures)
    paper, ink = _uniform(0, 0.3, count, generator), _uniform(0.6, 1, count, generator)
    pictures = paper + (ink - paper) * pictures
    dark = _uniform(0, 1, count, generator) < 0.5
    strength = _uniform(-0.05, 0.05, count, generator).clamp(min=0)
    noise = torch.randn(pictures.shape, generator=generator)
    return (torch.where(dark, 1 - pictures, pictures) + strength * noise).clamp(0, 1)
