"""The evaluation transform of timm, bit for bit, with Pillow alone: prediction from an ONNX file has no torch."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageOps

from thawline.config import Preprocessing
from thawline.data.decode import LARGEST, UnreadableError

Transform = Callable[[Image.Image], Image.Image]
"""Maps a decoded RGB image to the one whose pixels are stored."""


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """The evaluation transform of timm without the normalization: from a decoded RGB image to one of S x S pixels."""
    size = preprocessing.image_size
    side = math.floor(size / preprocessing.crop_pct)
    resample = Image.Resampling[preprocessing.interpolation.upper()]
    border = preprocessing.crop_mode == "border"
    fill = tuple(round(255 * value) for value in preprocessing.mean) if border else 0
    resized_to = {"squash": _squashed, "border": _longer_side, "center": _shorter_side}[preprocessing.crop_mode]

    def transformed(image: Image.Image) -> Image.Image:
        _check_shape(image, size / preprocessing.crop_pct)
        target = resized_to(image.width, image.height, side)
        if target != image.size:
            image = image.resize(target, resample)
        return _center(image, size, fill)

    return transformed


def too_narrow(width: int, height: int, shorter: float) -> bool:
    """Whether an image passes the limit of pixels once its shorter side is resized to `shorter` pixels."""
    if not (width and height):
        return False
    scale = shorter / min(width, height)
    return width * height * scale * scale > LARGEST


def _check_shape(image: Image.Image, shorter: float) -> None:
    """A very narrow image becomes huge when its shorter side is resized to the network's input size."""
    if too_narrow(image.width, image.height, shorter):
        raise UnreadableError(
            f"is too narrow ({image.width} x {image.height}): it would exceed {LARGEST} pixels after resizing"
        )


def _shorter_side(width: int, height: int, side: int) -> tuple[int, int]:
    longer = int(side * max(width, height) / min(width, height))
    return (side, longer) if width <= height else (longer, side)


def _longer_side(width: int, height: int, side: int) -> tuple[int, int]:
    ratio = max(width / side, height / side)
    return max(round(width / ratio), 1), max(round(height / ratio), 1)


def _squashed(width: int, height: int, side: int) -> tuple[int, int]:
    return side, side


def _center(image: Image.Image, size: int, fill: int | tuple[int, ...]) -> Image.Image:
    """The central square of `size` pixels; what is smaller is padded first."""
    wide, high = max(size - image.width, 0), max(size - image.height, 0)
    if wide or high:
        image = ImageOps.expand(image, (wide // 2, high // 2, (wide + 1) // 2, (high + 1) // 2), fill)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))
