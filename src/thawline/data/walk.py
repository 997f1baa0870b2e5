"""Finds the image files below a folder, and reports every other file with the reason it was skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thawline.data.decode import readable_endings
from thawline.records import RUN_FILES
from thawline.results import SkippedFile

HIDDEN = "hidden (its name starts with a dot)"
SYSTEM = "created by the operating system"
UNSUPPORTED = "not a supported image format (by its extension)"
RUN = "a thawline run, not images of the dataset"

_BY_THE_SYSTEM = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Ignored:
    """A file or folder that was skipped, and why."""

    path: Path
    reason: str

    def result(self) -> SkippedFile:
        """The file as results list it."""
        return SkippedFile(path=as_text(self.path), reason=self.reason)


def as_text(path: Path | str) -> str:
    """The path for JSON and the screen; bytes that are not valid Unicode are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def walk(root: Path) -> tuple[list[Path], list[Ignored]]:
    """Image files below `root` (by extension), sorted by the code points of their paths, and everything skipped.

    Symbolic links are followed within `root`, except loops and links to folders reached through another link.
    """
    images: list[Path] = []
    ignored: list[Ignored] = []
    for found in walk_each(root):
        if isinstance(found, Ignored):
            ignored.append(found)
        else:
            images.append(found)
    return sorted(images, key=sort_key), sorted(ignored, key=lambda entry: sort_key(entry.path))


def walk_each(root: Path) -> Iterator[Path | Ignored]:
    """The same one at a time, in no order."""
    top = Path(os.path.realpath(root))
    folders = [(root, False)]
    while folders:
        folder, linked = folders.pop()
        for entry in _entries(folder):
            if isinstance(entry, Ignored):
                yield entry
                continue
            path = Path(entry.path)
            if reason := _unwanted(entry, top, linked):
                yield Ignored(path, reason)
            elif entry.is_dir():
                folders.append((path, linked or entry.is_symlink()))
            else:
                yield path


def is_run(folder: Path) -> bool:
    """Whether a folder is a thawline run, whose images are not training data."""
    try:
        return all((folder / name).is_file() for name in RUN_FILES)
    except OSError:  # a folder that cannot be entered, which `walk` lists
        return False


def sort_key(path: Path) -> str:
    """Sort key: code points of the whole path, the same on every system."""
    return path.as_posix()


def _entries(folder: Path) -> Iterator[os.DirEntry[str] | Ignored]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        yield Ignored(folder, f"cannot be opened ({error.strerror})")


def _unwanted(entry: os.DirEntry[str], top: Path, linked: bool) -> str | None:
    if reason := unwanted_name(entry.name):
        return reason
    if entry.is_symlink() and (reason := _unwanted_link(Path(entry.path), top, linked)):
        return reason
    if entry.is_dir():
        return RUN if is_run(Path(entry.path)) else None
    if not entry.is_file():
        return "not a regular file"
    if Path(entry.name).suffix.lower() not in readable_endings():
        return UNSUPPORTED
    return None


def unwanted_name(name: str) -> str | None:
    """Why files and folders of this name are skipped; None = they are not."""
    if name.lower() in _BY_THE_SYSTEM:
        return SYSTEM
    if name.startswith(".") and not name.startswith(".."):
        return HIDDEN
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not valid Unicode"
    return None


def _unwanted_link(link: Path, top: Path, linked: bool) -> str | None:
    target = Path(os.path.realpath(link))
    here = Path(os.path.realpath(link.parent))
    if not target.exists() or target.is_symlink():
        return "a broken symbolic link"
    if not target.is_relative_to(top):
        return "a symbolic link to outside the folder"
    if here.is_relative_to(target):
        return "a symbolic-link loop"
    if linked and target.is_dir():
        return "a symbolic link reached through another symbolic link"
    return None
