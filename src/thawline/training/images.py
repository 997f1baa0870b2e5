"""Network input from decoded pixels: what a training may see, and as the network wants it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thawline.config import Preprocessing
from thawline.data.augment import Augmenter
from thawline.data.pixels import normalise

DEVICE_SHARE = 0.25
"""Part of a GPU's free memory that decoded pixels may take to stay there."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows of the pixel array with their labels: one split, as far as whoever holds it may see."""

    rows: np.ndarray
    """[n], row numbers in the pixel array."""
    labels: Tensor
    """[n], int64 class indices."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TrainingData:
    """What a training may see: all pixels, but the labels of train and val only."""

    pixels: np.ndarray
    """[N, S, S, 3] uint8, usually a read-only memory map."""
    train: LabelledRows
    val: LabelledRows
    augmenter: Augmenter | None = None
    """Changes training images only; None = no augmentation."""


class Images:
    """Turns rows of the pixel array into batches on the device; the pixels themselves live there if they fit well."""

    def __init__(self, data: TrainingData, preprocessing: Preprocessing, device: torch.device) -> None:
        self._pixels = data.pixels
        self._augmenter = data.augmenter
        self._preprocessing = preprocessing
        self._device = device
        self._resident = torch.from_numpy(np.array(data.pixels)).to(device) if self._fit_on_device() else None

    @property
    def count(self) -> int:
        """Number of rows of the pixel array."""
        return len(self._pixels)

    def view(self, epoch: int) -> int | None:
        """The view that training sees in `epoch` (from 0): None = the images as they are."""
        return None if self._augmenter is None else self._augmenter.view_at(epoch)

    @property
    def views(self) -> int | None:
        """Number of different views that training sees; None if every epoch draws anew."""
        return 1 if self._augmenter is None else self._augmenter.views or None

    def batch(self, rows: np.ndarray, view: int | None) -> Tensor:
        """[B, 3, S, S] float32 on the device, channels last."""
        images = normalise(self._raw(rows), self._preprocessing)
        if view is None or self._augmenter is None:
            return images
        return self._augmenter.apply(images, rows, view)

    def blank(self, number: int) -> Tensor:
        """[number, 3, S, S] float32 on the device, without content or memory."""
        height, width = self._pixels.shape[1:3]
        return torch.zeros((), device=self._device).expand(number, 3, height, width)

    def _raw(self, rows: np.ndarray) -> Tensor:
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(self._device)]
        return torch.from_numpy(np.ascontiguousarray(self._pixels[rows])).to(self._device)

    def _fit_on_device(self) -> bool:
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self._pixels.nbytes < DEVICE_SHARE * free
