"""Any way of naming data, made into a set of image files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from thawline.data.huggingface import read_huggingface
from thawline.data.python_objects import Pairs, Pictures, read_dataset, read_pairs
from thawline.data.sources import ImageSet, read_images
from thawline.data.torchvision import read_torchvision
from thawline.records import fingerprint, write_text

Data = str | Path | Pairs | Pictures
"""A folder, a manifest, hf:NAME or torchvision:NAME; a list of (path, label), or a data set of (picture, label)."""

_READERS: Mapping[str, Callable[[str, Path], ImageSet]] = {
    "hf:": read_huggingface,
    "torchvision:": read_torchvision,
}


def read_named(data: str, cache: Path) -> ImageSet:
    """The images behind a name: `hf:` and `torchvision:` names become files in `cache` once, others are on disk.

    Raises `DataError` if there is nothing of that name, or if it is no data set that can be trained on.
    """
    for prefix, read in _READERS.items():
        if data.startswith(prefix):
            return read(data.removeprefix(prefix), cache)
    return read_images(data)


def absolute_name(data: str) -> str:
    """The same name, for use from any folder."""
    return data if data.startswith(tuple(_READERS)) else str(Path(data).absolute())


def name_of(data: Data, cache: Path) -> str:
    """A name that `read_named` reads; objects are written into `cache` first, so that a run on them can be resumed."""
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, list | tuple):
        return str(_manifest(read_pairs(data), cache))
    return str(read_dataset(data, cache).root / "images.csv")


def _manifest(images: ImageSet, cache: Path) -> Path:
    """The images as a table of absolute paths and labels."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("path", "label"))
    writer.writerows((item.path, item.label) for item in images.items)
    path = cache / f"pairs-{fingerprint(stream.getvalue())[:16]}.csv"
    write_text(path, stream.getvalue())
    return path
