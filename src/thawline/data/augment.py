"""Augmentation of a batch on its device: one resampling per image, drawn from (seed, view) and nothing else."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FLIP_PROBABILITY = 0.5
LARGEST_ANGLE = 10.0
"""Degrees, to either side."""
LARGEST_SHIFT = 1 / 8
"""Share of the image's side, in all directions: a random crop out of the image with a reflected border."""


class Augmenter:
    """Augmented views of `count` images: random crop, horizontal flip and small rotation, different for each image.

    What happens to image i in view v depends on (seed, v, i) only: not on the batch it is in, nor on how often or in
    which order views are asked for.
    """

    def __init__(self, count: int, *, views: int, seed: int) -> None:
        """`views` = 0 draws anew in every epoch; `seed` must be 0 or more."""
        self.count = count
        self.views = views
        self.seed = seed
        self._drawn: tuple[int, np.ndarray] | None = None

    def view_at(self, epoch: int) -> int:
        """The view that training sees in `epoch` (from 0)."""
        return epoch % self.views if self.views else epoch

    def draws(self, view: int) -> np.ndarray:
        """[count, 4] float64: mirror (-1 = flipped), angle in radians, horizontal and vertical shift in sides."""
        if self._drawn is None or self._drawn[0] != view:
            uniform = np.random.default_rng([self.seed, view]).random((self.count, 4))
            mirror = np.where(uniform[:, 0] < FLIP_PROBABILITY, -1.0, 1.0)
            angle = (2 * uniform[:, 1] - 1) * np.radians(LARGEST_ANGLE)
            shift = (2 * uniform[:, 2:] - 1) * LARGEST_SHIFT
            self._drawn = view, np.column_stack([mirror, angle, shift])
        return self._drawn[1]

    def apply(self, batch: Tensor, rows: np.ndarray, view: int) -> Tensor:
        """`batch` [B, C, H, W] (H = W, any scale, channels last or not) -> float32 of the same shape and layout.

        `rows` [B] says which of the images they are.
        """
        return resample(batch, matrices(self.draws(view)[rows]))


def matrices(draws: np.ndarray) -> np.ndarray:
    """[B, 2, 3] maps from output to input coordinates (-1 to 1), as in `torch.nn.functional.affine_grid`."""
    mirror, angle, shift_x, shift_y = draws.T
    cosine, sine = np.cos(angle), np.sin(angle)
    # An image is 2 units wide, hence twice the shift.
    rows = [[mirror * cosine, -sine, 2 * shift_x], [mirror * sine, cosine, 2 * shift_y]]
    return np.moveaxis(np.array(rows, np.float32), -1, 0)


def resample(batch: Tensor, transforms: np.ndarray) -> Tensor:
    """Bilinear resampling of [B, C, H, W] with reflected borders; `transforms` [B, 2, 3] as from `matrices`."""
    batch = batch.to(torch.float32)
    grid = _grid(torch.from_numpy(transforms).to(batch.device), batch.shape[2], batch.shape[3])
    with torch.autocast(batch.device.type, enabled=False):
        moved = F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    channels_last = batch.is_contiguous(memory_format=torch.channels_last)
    return moved.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _grid(transforms: Tensor, height: int, width: int) -> Tensor:
    """[B, H, W, 2]: `affine_grid` written out.

    `affine_grid` is a matrix product, whose rounding may depend on the size of the batch; single products and sums
    do not.
    """
    x = (torch.arange(width, device=transforms.device) * 2 + 1) / width - 1
    y = ((torch.arange(height, device=transforms.device) * 2 + 1) / height - 1).unsqueeze(1)
    a = transforms[:, :, :, None, None]
    return (a[:, :, 0] * x + a[:, :, 1] * y + a[:, :, 2]).permute(0, 2, 3, 1)
