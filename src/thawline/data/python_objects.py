"""Python objects as data: a list of (path, label), or a torch dataset of images."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, SupportsIndex, TypeVar, cast

import numpy as np
from PIL import Image
from torch import Tensor

from thawline.data.class_names import class_name, spelling_notes
from thawline.data.layout import Split
from thawline.data.materialise import Sample, as_png, materialise
from thawline.data.sources import ImageSet, Item, image_set, require_trainable
from thawline.errors import DataError
from thawline.ranges import Range, shown

Pairs = Sequence[tuple[str | Path, str]]
"""Image files and their classes."""

LABEL = Range(-(2**63), 2**63 - 1)
"""Integers that stand for classes."""

Given = TypeVar("Given")


class ImageDataset(Protocol):
    """A map-style `torch.utils.data.Dataset`, or any other sequence, of (image, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


Picture = Image.Image | np.ndarray | Tensor
"""A PIL image, a uint8 array [H, W] or [H, W, C], or a uint8 tensor [H, W] or [C, H, W]."""
Images = str | Path | Picture | Sequence[str | Path | Picture] | ImageDataset
"""Image files or folders of them, images, or a dataset of images with or without labels."""


def read_pairs(
    pairs: Pairs, *, val: Pairs | None = None, test: Pairs | None = None, trainable: bool = True
) -> ImageSet:
    """Read images from a list of (path, label); with `val` or `test`, `pairs` is the training split.

    `trainable`: whether they are for training and must be fit for that. Raises `DataError` for an entry that is not
    such a pair, and as `require_trainable` does.
    """
    items = [
        _item(pair, f"pair {number} of {split or 'the list'}", split)
        for split, own in _by_split(pairs, val, test).items()
        for number, pair in enumerate(own)
    ]
    if not items:
        raise DataError("the list of (path, label) is empty: it needs images of at least two classes.")
    root = Path(os.path.commonpath([item.path.parent for item in items]))
    written = [str(pair[1]) for own in _by_split(pairs, val, test).values() for pair in own]
    notes = spelling_notes(dict(zip(written, (item.label for item in items), strict=True)))
    images = image_set(root, items, notes=notes)
    return require_trainable(images, "the list of (path, label)") if trainable else images


def read_dataset(
    dataset: ImageDataset,
    cache: Path,
    *,
    classes: Sequence[str] | None = None,
    val: ImageDataset | None = None,
    test: ImageDataset | None = None,
    trainable: bool = True,
) -> ImageSet:
    """Write the images of a torch dataset of (image, label) to files in `cache`; it should not apply transforms.

    Images are PIL images, uint8 arrays `[H, W]` or `[H, W, C]`, or uint8 tensors `[H, W]` or `[C, H, W]`, with C = 1, 3
    or 4. Labels are strings or indices into `classes` (default: `dataset.classes`; without either, the index is the
    class name). With `val` or `test`, `dataset` is the training split. The data is read on each call, but equal content
    is stored once. `trainable`: as in `read_pairs`. Raises `DataError` for anything else.
    """
    names = classes if classes is not None else getattr(dataset, "classes", None)
    name = type(dataset).__name__
    images = materialise(name, _samples(_by_split(dataset, val, test), names), cache)
    return require_trainable(images, name) if trainable else images


@contextmanager
def as_files(images: Images) -> Iterator[tuple[list[Path], Mapping[Path, str]]]:
    """The files to classify; images that are objects are written for the time, and the mapping has what to call them.

    Raises `DataError` for what is neither a path nor an image.
    """
    given = list(map(_without_label, _listed(images)))
    with TemporaryDirectory() as folder:
        names: dict[Path, str] = {}
        paths: list[Path] = []
        for number, each in enumerate(given):
            path = Path(each) if isinstance(each, str | Path) else Path(folder) / f"{number:08d}.png"
            if not isinstance(each, str | Path):
                names[path] = f"image {number}"
                path.write_bytes(as_png(_image(each, names[path])))
            paths.append(path)
        yield paths, names


def _listed(images: Images) -> Sequence[object]:
    """Single images as a list of one; the rows of a dataset."""
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray | Tensor) and images.ndim < 4):
        return [images]
    if isinstance(images, list | tuple):
        return images
    if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        return [images[index] for index in range(len(images))]
    raise DataError(f"images must be paths, images, or a list or dataset of them, got {type(images).__name__}.")


def _without_label(row: object) -> object:
    """The image of a row of a dataset, which may have a label beside it, or a row of named columns."""
    if isinstance(row, tuple | list) and len(row) == 2:
        row = row[0]
    if isinstance(row, Mapping):
        row = next((value for value in row.values() if isinstance(value, Image.Image)), row)
    return row


def _by_split(train: Given, val: Given | None, test: Given | None) -> dict[Split | None, Given]:
    others: dict[Split | None, Given | None] = {"val": val, "test": test}
    given = {split: own for split, own in others.items() if own is not None}
    return {"train": train, **given} if given else {None: train}


def _item(pair: object, where: str, split: Split | None) -> Item:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str | Path)):
        raise DataError(f"{where} must be a tuple (path, label), got {pair!r}.")
    label = class_name(_class_name(pair[1], None, where))
    return Item(Path(pair[0]).absolute(), label, split)


def _samples(given: Mapping[Split | None, ImageDataset], classes: Sequence[str] | None) -> Iterator[Sample]:
    for split, dataset in given.items():
        for index in range(len(dataset)):
            where = f"image {index} of {split or 'the dataset'}"
            row = dataset[index]
            if not (isinstance(row, tuple | list) and len(row) == 2):
                raise DataError(f"{where} must be a tuple (image, label), got {type(row).__name__}.")
            yield Sample(_image(row[0], where), _class_name(row[1], classes, where), split)


def _class_name(label: object, classes: Sequence[str] | None, where: str) -> str:
    if isinstance(label, str):
        if not label.strip():
            raise DataError(f"{where} has an empty label.")
        return label.strip()
    try:
        number = operator.index(cast("SupportsIndex", label))
    except TypeError:
        raise DataError(f"{where} has the label {shown(label)}: labels must be strings or integers.") from None
    if classes is None and number in LABEL:
        return str(number)
    if classes is None:
        raise DataError(f"{where} has the label {shown(number)}: integer labels must be {LABEL}.")
    if not 0 <= number < len(classes):
        raise DataError(f"{where} has the label {shown(number)}: labels must be 0 to {len(classes) - 1}.")
    return str(classes[number])


def _image(value: object, where: str) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    array = value
    if isinstance(value, Tensor):
        array = value.numpy(force=True)
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or not _is_image(array.shape):
        what = f"{array.dtype} {_shape(value)}" if isinstance(array, np.ndarray) else type(value).__name__
        raise DataError(
            f"{where} must be a PIL image, a uint8 array [H, W, C] or a uint8 tensor [C, H, W], got {what}; "
            "remove its transforms: images are resized and normalized later."
        )
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array))


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, np.ndarray | Tensor) else ()


def _is_image(shape: tuple[int, ...]) -> bool:
    return 0 not in shape and (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4)))
