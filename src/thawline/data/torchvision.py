"""Datasets of torchvision: `torchvision:CIFAR10`, with torchvision's splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torchvision
from PIL import Image
from torchvision import datasets

from thawline.data import cache as cache_folder
from thawline.data.cifar import CIFAR10, CIFAR100, Cifar
from thawline.data.layout import Split
from thawline.data.materialise import Sample, entry_key, find_or_write, materialise
from thawline.data.sources import ImageSet
from thawline.errors import DataError
from thawline.reading import read_regular

Splits = Mapping[Split, Mapping[str, str | bool]]
"""The arguments that select each split in torchvision."""

_BY_FLAG: Splits = {"train": {"train": True}, "test": {"train": False}}
_TWO: Splits = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Splits = {**_TWO, "val": {"split": "val"}}
_DIGITS = tuple("0123456789")


class _Images(Protocol):
    """What is used of a torchvision dataset."""

    @property
    def classes(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[bytes | Image.Image, int]: ...


@dataclass(frozen=True)
class _Set:
    open: Callable[..., _Images]
    splits: Splits
    classes: tuple[str, ...] = ()
    """Class names, if the dataset has no attribute `classes`."""


def _file(path: str | Path) -> bytes:
    """A `loader` that returns the file undecoded, for thawline's own decoder."""
    return read_regular(Path(path))


SETS: dict[str, _Set] = {
    "CIFAR10": _Set(partial(Cifar, CIFAR10), _BY_FLAG),
    "CIFAR100": _Set(partial(Cifar, CIFAR100), _BY_FLAG),
    "DTD": _Set(partial(datasets.DTD, loader=_file), _THREE),
    "FGVCAircraft": _Set(partial(datasets.FGVCAircraft, loader=_file), _THREE),
    "FashionMNIST": _Set(datasets.FashionMNIST, _BY_FLAG),
    "Flowers102": _Set(partial(datasets.Flowers102, loader=_file), _THREE),
    "MNIST": _Set(datasets.MNIST, _BY_FLAG, _DIGITS),
    "STL10": _Set(datasets.STL10, _TWO),
    "SVHN": _Set(datasets.SVHN, _TWO, _DIGITS),
    "USPS": _Set(datasets.USPS, _BY_FLAG, _DIGITS),
}


def read_torchvision(name: str, cache: Path) -> ImageSet:
    """Read the dataset of this name (`SETS`); it is downloaded into `cache` once.

    Files may also be placed in `cache`/raw/NAME by hand, in torchvision's layout. Raises `DataError` for an unknown
    name, a failed download or incomplete files.
    """
    source = f"torchvision:{name}"
    if name not in SETS:
        raise DataError(f"{source!r} is unknown; available are {', '.join(SETS)}.")
    key = entry_key(source, torchvision.__version__)
    write = partial(_write, name, source, cache, key)
    return find_or_write(source, cache, key, write)


def _write(name: str, source: str, cache: Path, key: str) -> ImageSet:
    return materialise(source, _samples(name, _raw_folder(name, cache)), cache, key=key)


def _raw_folder(name: str, cache: Path) -> Path:
    """The folder of the original files. Interrupted downloads leave nothing behind; damaged ones are repeated.

    Only a download has a seal: files placed by hand are taken as they are.
    """
    raw = cache / "raw"
    if (raw / name / cache_folder.SEAL).exists():
        cache_folder.read(raw, name, Path, cache_folder.silent)
    if not (raw / name).exists():
        with cache_folder.building(raw) as fresh:
            for arguments in SETS[name].splits.values():
                _open(name, fresh, download=True, **arguments)
            cache_folder.publish(fresh, raw, name)
    return raw / name


def _samples(name: str, folder: Path) -> Iterator[Sample]:
    for split, arguments in SETS[name].splits.items():
        images = _open(name, folder, download=False, **arguments)
        classes = SETS[name].classes or images.classes
        for index in range(len(images)):
            content, label = images[index]
            yield Sample(content, classes[label], split)


def _open(name: str, folder: Path, *, download: bool, **arguments: str | bool) -> _Images:
    try:
        return SETS[name].open(root=folder, download=download, **arguments)
    except (OSError, RuntimeError, ValueError) as error:  # a URLError is an OSError
        reason = " ".join(str(error).split()) or type(error).__name__
        if download:
            raise DataError(
                f"'torchvision:{name}' cannot be downloaded ({reason}): check the connection and try again."
            ) from error
        raise DataError(
            f"{str(folder)!r} is not a complete copy of {name} ({reason}): delete it to download it again."
        ) from error
