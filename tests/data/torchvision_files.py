"""Writers of torchvision's data sets in the files that the real ones have, for as few images as a test needs.

Each writes into the folder that stands for one data set, `CACHE/raw/NAME`. Labels are numbers from 0.
"""

from __future__ import annotations

import bz2
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Splits = Mapping[str, tuple[Sequence[int], Pixels]]
"""Split -> the labels [N] and the images, [N, H, W] or [N, H, W, 3]."""


def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file that is there for intact: torchvision knows the MD5 of the real ones only."""

    def is_there(path: str | Path, md5: str | None = None) -> bool:
        return Path(path).is_file()

    for module in ("svhn", "stl10", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", is_there)


def jpeg(pixels: Pixels) -> bytes:
    """The file that stands for an image where the data set consists of files."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write_mnist(folder: Path, name: str, splits: Splits) -> None:
    """The IDX format: magic number, sizes (big-endian), bytes."""
    for split, (labels, images) in splits.items():
        for kind, array in (("labels-idx1", np.array(labels, np.uint8)), ("images-idx3", images)):
            header = np.array([0x0800 + array.ndim, *array.shape], ">i4")
            part = {"train": "train", "test": "t10k"}[split]
            _write(folder / name / "raw" / f"{part}-{kind}-ubyte", header.tobytes() + array.tobytes())


def write_usps(folder: Path, splits: Splits) -> None:
    """The text format of libsvm under bzip2: labels from 1, values from -1 to 1."""
    for split, (labels, images) in splits.items():
        values = images.reshape(len(labels), -1) / 127.5 - 1
        lines = [
            " ".join([f"{label + 1}", *(f"{place}:{value:.6f}" for place, value in enumerate(row, 1))])
            for label, row in zip(labels, values, strict=True)
        ]
        _write(folder / {"train": "usps.bz2", "test": "usps.t.bz2"}[split], bz2.compress(_text(lines)))


def write_svhn(folder: Path, splits: Splits) -> None:
    """MATLAB files with images as [H, W, 3, N], and 10 as the label of the digit 0."""
    folder.mkdir(parents=True)
    for split, (labels, images) in splits.items():
        digits = np.array([[label or 10] for label in labels], np.uint8)
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": digits})


def write_cifar10(folder: Path, classes: Sequence[str], splits: Splits) -> None:
    """The binary version, which spreads the training images over five files."""
    labels, images = splits["train"]
    parts = {f"data_batch_{part + 1}.bin": (labels[part::5], images[part::5]) for part in range(5)}
    root = folder / "cifar-10-batches-bin"
    _write(root / "batches.meta.txt", _text([*classes, ""]))
    _write_records(root, {**parts, "test_batch.bin": splits["test"]})


def write_cifar100(folder: Path, classes: Sequence[str], splits: Splits) -> None:
    """The binary version, with a coarse label, which is not used, before the fine one."""
    root = folder / "cifar-100-binary"
    _write(root / "fine_label_names.txt", _text([*classes, ""]))
    _write_records(root, {f"{split}.bin": part for split, part in splits.items()}, head=bytes([9]))


def _write_records(root: Path, files: Splits, head: bytes = b"") -> None:
    for name, (labels, images) in files.items():
        planes = images.transpose(0, 3, 1, 2)
        records = [head + bytes([label]) + plane.tobytes() for label, plane in zip(labels, planes, strict=True)]
        _write(root / name, b"".join(records))


def write_stl10(folder: Path, classes: Sequence[str], splits: Splits) -> None:
    """Planes column by column and labels from 1; the file of the unlabelled images must be there, too."""
    root = folder / "stl10_binary"
    _write(root / "class_names.txt", _text(classes))
    _write(root / "unlabeled_X.bin", b"")
    for split, (labels, images) in splits.items():
        _write(root / f"{split}_X.bin", images.transpose(0, 3, 2, 1).tobytes())
        _write(root / f"{split}_y.bin", bytes(label + 1 for label in labels))


def write_flowers(folder: Path, splits: Splits) -> None:
    """JPEG files, here numbered backwards, and MATLAB files with the label (from 1) and the split of each number."""
    root = folder / "flowers-102"
    number = sum(len(labels) for labels, _ in splits.values())
    kinds, ids = np.zeros(number, int), dict[str, list[int]]()
    for split, label, image in _each(splits):
        _write(root / "jpg" / f"image_{number:05d}.jpg", jpeg(image))
        kinds[number - 1] = label + 1
        ids.setdefault({"train": "trnid", "val": "valid", "test": "tstid"}[split], []).append(number)
        number -= 1
    scipy.io.savemat(root / "imagelabels.mat", {"labels": kinds})
    scipy.io.savemat(root / "setid.mat", ids)


def write_aircraft(folder: Path, classes: Sequence[str], splits: Splits) -> None:
    """JPEG files with numbers for names, and a list of number and variant for each split."""
    root = folder / "fgvc-aircraft-2013b" / "data"
    _write(root / "variants.txt", _text(classes))
    lines: dict[str, list[str]] = {}
    for number, (split, label, image) in enumerate(_each(splits)):
        _write(root / "images" / f"{number:07d}.jpg", jpeg(image))
        lines.setdefault(split, []).append(f"{number:07d} {classes[label]}")
    for split, own in lines.items():
        _write(root / f"images_variant_{split}.txt", _text(own))


def write_dtd(folder: Path, classes: Sequence[str], splits: Splits) -> Path:
    """Folders of classes, and a list of files for each split; returns the folder that holds both."""
    root = folder / "dtd" / "dtd"
    lines: dict[str, list[str]] = {}
    for number, (split, label, image) in enumerate(_each(splits)):
        name = f"{classes[label]}/{classes[label]}_{number:04d}.jpg"
        _write(root / "images" / name, jpeg(image))
        lines.setdefault(split, []).append(name)
    for split, own in lines.items():
        _write(root / "labels" / f"{split}1.txt", _text(own))
    return root


def _each(splits: Splits) -> Iterator[tuple[str, int, Pixels]]:
    for split, (labels, images) in splits.items():
        for label, image in zip(labels, images, strict=True):
            yield split, label, image


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
