"""Reads every form of data into a set of image files: folders, manifests, named datasets and Python objects."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from thawline.config import OnBad
from thawline.data.named import is_named, read_named_dataset
from thawline.data.python_objects import ImageDataset, Pairs, read_dataset, read_pairs
from thawline.data.sources import ImageSet, read_images, require_trainable
from thawline.errors import DataError
from thawline.records import fingerprint, write_text
from thawline.spreadsheet import csv_text

Data = str | Path | Pairs | ImageDataset
"""A folder, a manifest or a named dataset; a list of (path, label); or a dataset of (image, label)."""


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


def name_of(data: Data, cache: Path) -> str:
    """A name that `read_named` accepts; objects are first written to `cache`, so that runs on them can be resumed."""
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, list | tuple):
        return str(_manifest(read_pairs(data), cache))
    if not hasattr(data, "__getitem__"):
        raise DataError(
            f"the data must be a folder, a table, (path, label) pairs or a dataset, got {type(data).__name__}."
        )
    return str(read_dataset(data, cache).root / "images.csv")


def _manifest(images: ImageSet, cache: Path) -> Path:
    """Write the images to a manifest with absolute paths."""
    table = csv_text(("path", "label"), ((str(item.path), item.label) for item in images.items), ending="\n")
    path = cache / f"pairs-{fingerprint(table)[:16]}.csv"
    write_text(path, table)
    return path
