"""Batch augmentation on the device: one resampling per image, determined by (seed, view) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from thawline.config import DataConfig, Preprocessing

Kind = Literal["mild", "mild_no_flip", "strong", "strong_no_flip"]

COLUMNS = ("mirror", "angle", "width", "height", "shift_x", "shift_y", "brightness", "contrast", "saturation")
"""Drawn per image: -1 = flipped; radians; crop size and center as fractions of the side; color factors."""


@dataclass(frozen=True)
class Ranges:
    """Strength of one kind of augmentation."""

    angle: float
    """Largest rotation in either direction, in degrees."""
    shift: float
    """Largest translation, as a fraction of the side; borders are reflected: a random crop of the padded image."""
    area: float
    """Smallest crop, as a fraction of the image's area, before resizing; 1 = no crop."""
    aspect: float
    """Largest aspect ratio of the crop, in either direction; 1 = square."""
    color: float
    """Largest relative change of brightness, contrast and saturation."""
    flip: bool = True
    """Whether every image is mirrored horizontally with probability 1/2."""


_MILD = Ranges(angle=10, shift=1 / 8, area=1, aspect=1, color=0)
_STRONG = Ranges(angle=10, shift=0, area=0.5, aspect=4 / 3, color=0.2)
RANGES: dict[Kind, Ranges] = {
    "mild": _MILD,
    "mild_no_flip": replace(_MILD, flip=False),
    "strong": _STRONG,
    "strong_no_flip": replace(_STRONG, flip=False),
}
"""The study names the operations (FER2013: mild, DeepWeeds: strong); the magnitudes are ours."""


class Augmenter:
    """Augmented views of `count` images, different for each image.

    The augmentation of image i in view v depends only on (seed, v, i): not on its batch, nor on how often or in which
    order views are requested.
    """

    def __init__(
        self, count: int, *, views: int, seed: int, kind: Kind = "mild", preprocessing: Preprocessing | None = None
    ) -> None:
        """`views` = 0 draws a new view in every epoch.

        `preprocessing` is the normalization of the batches, needed to change colors; without it, batches are in
        [0, 1].
        """
        self.count = count
        self.views = views
        self.seed = seed
        self.ranges = RANGES[kind]
        self.mean = preprocessing.mean if preprocessing else (0.0, 0.0, 0.0)
        self.std = preprocessing.std if preprocessing else (1.0, 1.0, 1.0)
        self._drawn: tuple[int, np.ndarray] | None = None

    def view_at(self, epoch: int) -> int:
        """The view that is used in `epoch` (from 0)."""
        return epoch % self.views if self.views else epoch

    def draws(self, view: int) -> np.ndarray:
        """The parameters of a view, [count, 9] float64, with the columns of `COLUMNS`."""
        if self._drawn is None or self._drawn[0] != view:
            uniform = np.random.default_rng([self.seed, view]).random((self.count, len(COLUMNS)))
            self._drawn = view, _scaled(uniform, self.ranges)
        return self._drawn[1]

    def apply(self, batch: Tensor, rows: np.ndarray, view: int) -> Tensor:
        """Augment `batch` [B, 3, H, W] (H = W); returns float32 of the same shape, scale and memory format.

        `rows` [B] are the indices of its images.
        """
        draws = self.draws(view)[rows]
        moved = resample(batch, matrices(draws))
        if self.ranges.color == 0:
            return moved
        return recolor(moved, draws[:, -3:], self.mean, self.std)


def augmenter(options: DataConfig, count: int, preprocessing: Preprocessing) -> Augmenter | None:
    """Augmented views of `count` images; None if there are none, or `auto` is not settled yet."""
    if options.augment == "none" or options.augment == "auto":
        return None
    return Augmenter(count, views=options.views, seed=options.seed, kind=options.augment, preprocessing=preprocessing)


def _scaled(uniform: np.ndarray, ranges: Ranges) -> np.ndarray:
    """Map [count, 9] uniform numbers in [0, 1) to the ranges of `COLUMNS`."""
    mirror = np.where(ranges.flip & (uniform[:, 0] < 0.5), -1.0, 1.0)
    signed = 2 * uniform - 1
    angle = signed[:, 1] * math.radians(ranges.angle)
    area = ranges.area + (1 - ranges.area) * uniform[:, 2]
    aspect = ranges.aspect ** signed[:, 3]
    width, height = np.minimum(1, np.sqrt(area * aspect)), np.minimum(1, np.sqrt(area / aspect))
    shift_x = signed[:, 4] * (ranges.shift + (1 - width) / 2)
    shift_y = signed[:, 5] * (ranges.shift + (1 - height) / 2)
    return np.column_stack([mirror, angle, width, height, shift_x, shift_y, 1 + ranges.color * signed[:, 6:]])


def matrices(draws: np.ndarray) -> np.ndarray:
    """Affine maps [B, 2, 3] from output to input coordinates (-1 to 1), as `torch.nn.functional.affine_grid` takes."""
    mirror, angle, width, height, shift_x, shift_y = draws[:, :6].T
    cosine, sine = np.cos(angle), np.sin(angle)
    # An image is 2 units wide, hence twice the shift.
    rows = [
        [mirror * width * cosine, -height * sine, 2 * shift_x],
        [mirror * width * sine, height * cosine, 2 * shift_y],
    ]
    return np.moveaxis(np.array(rows, np.float32), -1, 0)


def resample(batch: Tensor, transforms: np.ndarray) -> Tensor:
    """Bilinear resampling of [B, C, H, W] with reflected borders; `transforms` [B, 2, 3] come from `matrices`."""
    batch = batch.to(torch.float32)
    grid = _grid(torch.from_numpy(transforms).to(batch.device), batch.shape[2], batch.shape[3])
    with torch.autocast(batch.device.type, enabled=False):
        moved = F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    channels_last = batch.is_contiguous(memory_format=torch.channels_last)
    return moved.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def recolor(batch: Tensor, factors: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Change brightness, contrast and saturation of normalized [B, 3, H, W] by `factors` [B, 3].

    Contrast is relative to mid-gray instead of the image's mean, whose rounding may depend on the batch.
    """
    deviation, center = (torch.tensor(values, device=batch.device).view(3, 1, 1) for values in (std, mean))
    scaled = torch.from_numpy(factors.astype(np.float32)).to(batch.device)
    brightness, contrast, saturation = (scaled[:, column].view(-1, 1, 1, 1) for column in range(3))
    pixels = (batch * deviation + center) * brightness
    pixels = (pixels - 0.5) * contrast + 0.5
    gray = 0.299 * pixels[:, :1] + 0.587 * pixels[:, 1:2] + 0.114 * pixels[:, 2:]
    pixels = gray + (pixels - gray) * saturation
    return pixels.clamp_(0, 1).sub_(center).div_(deviation)


def _grid(transforms: Tensor, height: int, width: int) -> Tensor:
    """`affine_grid` written out: [B, H, W, 2].

    `affine_grid` is a matrix product, whose rounding may depend on the batch size; elementwise products and sums do
    not.
    """
    x = (torch.arange(width, device=transforms.device) * 2 + 1) / width - 1
    y = ((torch.arange(height, device=transforms.device) * 2 + 1) / height - 1).unsqueeze(1)
    a = transforms[:, :, :, None, None]
    return (a[:, :, 0] * x + a[:, :, 1] * y + a[:, :, 2]).permute(0, 2, 3, 1)
