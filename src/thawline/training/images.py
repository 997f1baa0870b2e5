"""Network input from decoded pixels, and the data that a training may access."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thawline.config import Preprocessing
from thawline.data.augment import Augmenter
from thawline.data.pixels import normalize
from thawline.data.stream import Pixels, PixelStream

DEVICE_SHARE = 0.25
"""Largest fraction of the GPU's free memory for keeping decoded pixels there."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows of the pixel array with their labels: a split, or part of it."""

    rows: np.ndarray
    """Row numbers in the pixel array, [n]."""
    labels: Tensor
    """Class indices, [n] int64."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TrainingData:
    """The data that a training may access: all pixels, but only the labels of train and val."""

    pixels: Pixels
    """[N, S, S, 3] uint8, usually a read-only memory map."""
    train: LabelledRows
    val: LabelledRows
    augmenter: Augmenter | None = None
    """Applied to training images only; None = no augmentation."""
    probed: LabelledRows | None = None
    """Training images that linear probes are solved on; None = those that are trained on."""


class Images:
    """Makes batches on the device from rows of the pixel array, which is kept on the GPU if it is small enough."""

    def __init__(self, data: TrainingData, preprocessing: Preprocessing, device: torch.device) -> None:
        self._pixels = data.pixels
        self._augmenter = data.augmenter
        self._preprocessing = preprocessing
        self._device = device
        self._resident = self._on_device() if self._fit_on_device() else None

    @property
    def streamed(self) -> bool:
        """Whether every batch is decoded anew."""
        return isinstance(self._pixels, PixelStream)

    def expect(self, rows: np.ndarray) -> None:
        """Rows [n] in the order of the batches to come, so that they can be decoded ahead; changes no result."""
        if isinstance(self._pixels, PixelStream):
            self._pixels.expect(rows)

    @property
    def count(self) -> int:
        """Number of rows of the pixel array."""
        return len(self._pixels)

    def view(self, epoch: int) -> int | None:
        """The view of the training images in `epoch` (from 0); None = unaugmented."""
        return None if self._augmenter is None else self._augmenter.view_at(epoch)

    @property
    def views(self) -> int | None:
        """Number of different views in training; None if every epoch draws a new one."""
        return 1 if self._augmenter is None else self._augmenter.views or None

    def batch(self, rows: np.ndarray, view: int | None) -> Tensor:
        """A batch [B, 3, S, S] float32 on the device, channels last."""
        images = normalize(self._raw(rows), self._preprocessing)
        if view is None or self._augmenter is None:
            return images
        return self._augmenter.apply(images, rows, view)

    def blank(self, number: int) -> Tensor:
        """Zeros [number, 3, S, S] float32 on the device that take no memory."""
        height, width = self._pixels.shape[1:3]
        return torch.zeros((), device=self._device).expand(number, 3, height, width)

    def _raw(self, rows: np.ndarray) -> Tensor:
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows).to(self._device)]
        return torch.from_numpy(np.ascontiguousarray(self._pixels[rows])).to(self._device)

    def _on_device(self) -> Tensor:
        return torch.from_numpy(np.array(self._pixels)).to(self._device)

    def _fit_on_device(self) -> bool:
        if self._device.type != "cuda" or self.streamed:
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self._pixels.nbytes < DEVICE_SHARE * free
