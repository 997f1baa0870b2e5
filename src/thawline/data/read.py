"""Reads every form of data into a set of image files: folders, manifests, named datasets and Python objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from thawline.config import OnBad
from thawline.data.huggingface import is_loaded, read_loaded
from thawline.data.layout import split_of
from thawline.data.named import is_named, read_named_dataset
from thawline.data.python_objects import ImageDataset, Pairs, read_dataset, read_pairs
from thawline.data.sources import ImageSet, read_images, require_trainable
from thawline.errors import DataError
from thawline.records import fingerprint, write_text
from thawline.spreadsheet import csv_text

Data = str | Path | Pairs | ImageDataset | Mapping[str, Pairs] | Mapping[str, ImageDataset]
"""A folder, a manifest or a named dataset; a list of (path, label); a dataset of (image, label) or of Hugging Face; or
a dict with such a list or dataset for each of train, val and test."""


def read_named(data: str, cache: Path, *, on_bad: OnBad = "error", known: Collection[str] | None = None) -> ImageSet:
    """Read a folder, a manifest or a named dataset, whose files are written to `cache` once.

    `on_bad`: whether a class folder without usable images is an error, or left out with a note. `known`: the classes of
    a model that is to be scored. Raises `DataError` if the data does not exist or, without `known`, cannot be used for
    training.
    """
    if not is_named(data):
        return read_images(data, on_bad=on_bad, known=known)
    images = read_named_dataset(data, cache)
    return images if known is not None else require_trainable(images, data)


def absolute_name(data: str) -> str:
    """The same data by a name that is valid in any working directory."""
    return data if is_named(data) else str(Path(data).absolute())


def name_of(data: Data, cache: Path, *, trainable: bool = True) -> str:
    """A name that `read_named` accepts; objects are first written to `cache`, so that runs on them can be resumed.

    `trainable`: whether objects are for training and must be fit for that; else `DataError`.
    """
    if isinstance(data, str | Path):
        return str(data)
    if is_loaded(data):
        images = read_loaded(cast("Any", data), cache)
        return str((require_trainable(images, "the dataset") if trainable else images).root / "images.csv")
    train, others = _by_split(data)
    if isinstance(train, list | tuple):
        return str(_manifest(read_pairs(train, **cast("Any", others), trainable=trainable), cache))
    if not (hasattr(train, "__getitem__") and hasattr(train, "__len__")):
        raise DataError(
            "the data must be a folder, a table, (path, label) pairs or a dataset with a length, got "
            f"{type(data).__name__}."
        )
    images = read_dataset(cast("ImageDataset", train), cache, **cast("Any", others), trainable=trainable)
    return str(images.root / "images.csv")


def _by_split(data: object) -> tuple[object, dict[str, object]]:
    """The training split, or all of the data, and val and test by name."""
    if not isinstance(data, Mapping):
        return data, {}
    found = {split_of(str(name)) or "": part for name, part in data.items()}
    if "train" not in found or "" in found or len(found) < len(data):
        raise DataError(f"data by split needs the keys train and, if you like, val and test, got {', '.join(data)}.")
    if path := next((part for part in found.values() if isinstance(part, str | Path)), None):
        raise DataError(
            f"data by split takes datasets or lists of (path, label), got the path {str(path)!r}; pass the folder that "
            "holds train, val and test."
        )
    return found["train"], {name: part for name, part in found.items() if name != "train"}


def _manifest(images: ImageSet, cache: Path) -> Path:
    """Write the images to a manifest with absolute paths."""
    rows = ((str(item.path), item.label, item.split or "") for item in images.items)
    table = csv_text(("path", "label", "split"), rows, ending="\n")
    path = cache / f"pairs-{fingerprint(table)[:16]}.csv"
    write_text(path, table)
    return path
