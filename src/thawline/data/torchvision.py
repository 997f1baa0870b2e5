"""Data sets by torchvision's names: `torchvision:CIFAR10`, with the splits that torchvision knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torchvision
from torchvision import datasets

from thawline.data import cache as cache_folder
from thawline.data.cifar import CIFAR10, CIFAR100, Cifar
from thawline.data.materialise import Sample, entry_key, find_materialised, materialise
from thawline.data.sources import ImageSet, Split
from thawline.errors import DataError

Splits = Mapping[Split, Mapping[str, Any]]
"""Split -> the arguments by which torchvision knows it."""

_BY_FLAG: Splits = {"train": {"train": True}, "test": {"train": False}}
_TWO: Splits = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Splits = {**_TWO, "val": {"split": "val"}}
_DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class _Set:
    open: Callable[..., Any]
    splits: Splits
    classes: tuple[str, ...] = ()
    """Class names, where torchvision knows none."""


def _file(path: str | Path) -> bytes:
    """A `loader` that leaves decoding to ours."""
    return Path(path).read_bytes()


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
    """The data set of this name (`SETS`), downloaded into `cache` the first time and read from there ever after.

    Its files may also be put into `cache`/raw/NAME by hand, laid out as torchvision does. Raises `DataError` for an
    unknown name, a download that fails and files that are incomplete.
    """
    source = f"torchvision:{name}"
    if name not in SETS:
        raise DataError(f"{source!r} is unknown; known are {', '.join(SETS)}.")
    key = entry_key(source, torchvision.__version__)
    found = find_materialised(source, cache, key)
    return found or materialise(source, _samples(name, _raw_folder(name, cache)), cache, key=key)


def _raw_folder(name: str, cache: Path) -> Path:
    """The files as they are published; a download that breaks off leaves none."""
    raw = cache / "raw"
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


def _open(name: str, folder: Path, *, download: bool, **arguments: Any) -> Any:
    try:
        return SETS[name].open(root=folder, download=download, **arguments)
    except (OSError, RuntimeError, ValueError) as error:  # a URLError is an OSError
        reason = " ".join(str(error).split()) or type(error).__name__
        if download:
            raise DataError(
                f"'torchvision:{name}' cannot be downloaded ({reason}): check the connection and try again."
            ) from error
        raise DataError(
            f"{str(folder)!r} holds no complete copy of {name} ({reason}): remove it, and it is downloaded again."
        ) from error
