"""Named datasets, `KIND:NAME`: the table of kinds. Standard library only, as the command line's help reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from thawline.errors import DataError
from thawline.reading import is_there

if TYPE_CHECKING:
    from thawline.data.sources import ImageSet

SOURCES: dict[str, str] = {
    "hf": "thawline.data.huggingface:read_huggingface",
    "torchvision": "thawline.data.torchvision:read_torchvision",
}
"""Reader of each kind of dataset, as `module:function`, imported when it is used.

`KIND:NAME` is read by calling the function with NAME and a folder to keep the files in. A new kind needs a module with
its reader and a line here; the command line's help and the model cards follow.
"""


def named_forms() -> str:
    """The forms of a dataset's name, for help texts: `hf:NAME; torchvision:NAME`."""
    return "; ".join(f"{kind}:NAME" for kind in SOURCES)


def is_named(data: str) -> bool:
    """Whether `data` is the name of a dataset, valid on any machine, rather than a path."""
    kind, separator, _ = data.partition(":")
    return bool(separator) and kind in SOURCES


def require_there(data: str | Path) -> None:
    """Raise `DataError` for a path where nothing is."""
    if not is_there(Path(data)):
        raise DataError(f"{str(data)!r} does not exist: pass a folder with one subfolder of images per class.")


def called(data: str) -> str:
    """What a run's data are called on screen: the name, or the folder or table without the folders it lies in."""
    return data if is_named(data) else Path(data).name


def hub_dataset(data: str) -> str:
    """USER/NAME of a dataset of the Hugging Face Hub, without configuration and options; empty for any other data."""
    kind, _, name = data.partition(":")
    path = name.partition(":")[0]
    return "" if kind != "hf" or Path(path).exists() else "/".join(path.split("/")[:2])


def read_named_dataset(data: str, cache: Path) -> ImageSet:
    """Read a dataset for which `is_named` is true; its files are written to `cache` once."""
    kind, _, name = data.partition(":")
    read: Callable[[str, Path], ImageSet] = resolve_name(SOURCES[kind])
    return read(name, cache)
