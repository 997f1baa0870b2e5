"""CIFAR-10 and CIFAR-100 from their binary files, because torchvision's reader loads pickles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets.utils import download_and_extract_archive

_SIDE = 32
"""Pixels."""


@dataclass(frozen=True)
class Layout:
    """Download address and file layout (https://www.cs.toronto.edu/~kriz/cifar.html)."""

    url: str
    md5: str
    folder: str
    names: str
    """The file with one class name per line."""
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int
    """Number of labels at the start of a record; the last, finest label is used."""


CIFAR10 = Layout(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-batches-bin",
    "batches.meta.txt",
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    ("test_batch.bin",),
    1,
)
CIFAR100 = Layout(
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
    "cifar-100-binary",
    "fine_label_names.txt",
    ("train.bin",),
    ("test.bin",),
    2,
)


class Cifar:
    """The training or test images with their labels, as a torchvision-style dataset.

    Raises `OSError` for missing files and `ValueError` for truncated ones.
    """

    def __init__(self, layout: Layout, root: Path, *, train: bool, download: bool) -> None:
        if download and not (root / layout.folder).is_dir():
            download_and_extract_archive(layout.url, root, md5=layout.md5, remove_finished=True)
        folder = root / layout.folder
        self.classes = (folder / layout.names).read_text(encoding="utf-8").split()
        files = layout.train if train else layout.test
        records = np.concatenate([np.fromfile(folder / file, np.uint8) for file in files])
        records = records.reshape(-1, layout.label_bytes + 3 * _SIDE**2)
        self._labels = records[:, layout.label_bytes - 1]
        self._pixels = records[:, layout.label_bytes :].reshape(-1, 3, _SIDE, _SIDE)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self._pixels[index].transpose(1, 2, 0).copy()), int(self._labels[index])
