"""Layout of a folder of images: which folders are splits, which are classes, and which have no usable images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from thawline.data.class_names import class_name
from thawline.data.walk import HIDDEN, RUN, SYSTEM, UNSUPPORTED, Ignored, unwanted_name
from thawline.errors import DataError
from thawline.formatting import counted

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_SYNONYMS: dict[Split, str] = {
    "train": "train|training|trn",
    "val": "val|valid|validation|dev|devel|development",
    "test": "test|testing|tst|eval|evaluation|holdout|hold out|heldout|held out",
}
_BEHIND = "set|split|data|dataset|images?|imgs?|folder"
"""Words that may follow the name of a split: training_set, test-images."""

_NO_CLASS = re.compile(
    r"\.(bib|cfg|css|csv|doc|docx|htm|html|ini|ipynb|js|json|jsonl|log|m|md|"
    r"ods|odt|pdf|py|rst|sh|sql|toml|tsv|txt|url|xls|xlsx|xml|yaml|yml)",
    re.IGNORECASE,
)
"""Extensions of text, tables and code: a folder with nothing else (annotations, docs) is not a class."""


def split_of(name: str) -> Split | None:
    """The split that a folder or table cell names (Training, dev, test_set), or None."""
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()
    for split, synonyms in _SYNONYMS.items():
        if re.fullmatch(rf"({synonyms})( ?({_BEHIND}))?", words):
            return split
    return None


def split_named(name: str | None, where: str) -> Split | None:
    """The split named in a manifest; None = to be drawn. `where` names the row in errors."""
    if not name:
        return None
    if (split := split_of(name)) is None:
        raise DataError(
            f"{where} has the split {name!r}: it must be train, val or test (or a usual name of one, such as training, "
            "dev or holdout), or empty."
        )
    return split


def split_folders(root: Path, files: Collection[tuple[str, ...]], known: Collection[str] = ()) -> dict[str, Split]:
    """Split of each top-level folder; empty if the top-level folders are classes.

    A class may be called train (next to bus and car): it counts as a split only next to val or test, or alone. With
    the `known` classes of a model to be scored, no train folder is needed. Raises `DataError` if the layout is
    ambiguous or the splits are unusable.
    """
    depths: dict[str, set[bool]] = {}
    for parts in files:
        if len(parts) > 1:
            depths.setdefault(parts[0], set()).add(len(parts) > 2)
    if known and all(class_name(top) in known for top in depths):
        return {}
    found = {top: split for top in sorted(depths) if (split := split_of(top))}
    usable = [top for top, split in found.items() if (known or split == "train") and True in depths[top]]
    if not found or (len(found) < len(depths) and not (usable and len(set(found.values())) > 1)):
        _refuse_splits_in_disguise(root, files)
        return {}
    if not usable:
        what = "folder" if known else "train folder"
        raise DataError(f"{str(root)!r} has split folders, but no {what} with one subfolder of images per class.")
    if len(set(found.values())) < len(found):
        raise DataError(f"{str(root)!r} has two folders for the same split ({', '.join(found)}): keep one of them.")
    return found


def _refuse_splits_in_disguise(root: Path, files: Iterable[tuple[str, ...]]) -> None:
    """Raise `DataError` if all top-level folders have the same subfolders: they may be splits, sites or patients."""
    below: dict[str, set[str]] = {}
    for parts in files:
        if len(parts) > 1:
            below.setdefault(parts[0], set()).add(class_name(parts[1]).casefold() if len(parts) > 2 else "")
    largest = max(below.values(), key=len, default=set())
    if len(below) < 2 or len(largest) < 2 or any("" in names or not names <= largest for names in below.values()):
        return
    raise DataError(
        f"{str(root)!r}: {some(below)} contain the same subfolders ({some(largest)}), so it is unclear "
        "which are the classes. If the folders are splits, name them train, val and test; if the subfolders are not "
        "classes, move their images up into the class folders; or list path, label and split of all images in a .csv."
    )


def some(names: Iterable[str], limit: int = 5) -> str:
    """The first few names, sorted and quoted, and the number of others."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(map(repr, ordered[:limit])) + more


@dataclass(frozen=True)
class Lost:
    """A class or split folder without usable images."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path.name!r} ({self.why})"


def lost_folders(
    root: Path, folders: Mapping[str, Split], labels: Collection[str], ignored: Sequence[Ignored]
) -> list[Lost]:
    """Class folders whose class is not among `labels`, and split folders that are not among `folders`.

    `ignored` has the reasons. Folders of text files or thawline runs are not meant as classes; hidden folders are
    skipped on purpose.
    """
    parents = [root / name for name in folders] or [root]
    candidates = [child for parent in parents for child in subfolders(parent) if class_name(child.name) not in labels]
    if folders:
        candidates += [child for child in subfolders(root) if split_of(child.name) and child.name not in folders]
    lost = []
    for child in candidates:
        entries = [entry for entry in ignored if entry.path == child or child in entry.path.parents]
        visible = [entry for entry in entries if entry.reason not in (HIDDEN, SYSTEM)]
        if not visible or not all(map(_is_no_image, visible)):
            lost.append(Lost(child, reasons(visible) or "empty"))
    return lost


def subfolders(parent: Path) -> list[Path]:
    """Visible subfolders, sorted, including symbolic links that are probably meant as folders."""
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if entry.is_dir() or _is_like_a_folder(entry)]
    except OSError:
        return []  # `walk` lists it
    return [parent / name for name in sorted(names) if unwanted_name(name) not in (HIDDEN, SYSTEM)]


def _is_like_a_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.name).suffix


def _is_no_image(entry: Ignored) -> bool:
    return entry.reason == RUN or (entry.reason == UNSUPPORTED and _NO_CLASS.fullmatch(entry.path.suffix) is not None)


def reasons(entries: Iterable[Ignored]) -> str:
    """Number of skipped entries by reason, most frequent first, with the unsupported extensions."""
    entries = list(entries)
    counts = Counter(entry.reason for entry in entries).most_common()
    endings = Counter(
        entry.path.suffix.lower() for entry in entries if entry.reason == UNSUPPORTED and entry.path.suffix
    )
    named = f": {', '.join(_plain(ending) for ending, _ in endings.most_common(5))}" if endings else ""
    return ", ".join(f"{count:,} {reason}{named if reason == UNSUPPORTED else ''}" for reason, count in counts)


def _plain(ending: str) -> str:
    """An extension that may be shown: a file name can hold control characters, or thousands of letters behind a dot."""
    return ending if ending.isprintable() and len(ending) <= 20 else f"{ascii(ending[:20])[1:-1]}..."


def skipped_note(ignored: Sequence[Ignored]) -> list[str]:
    """One line about everything skipped, unless all of it is hidden or created by the system."""
    if all(entry.reason in (HIDDEN, SYSTEM) for entry in ignored):
        return []
    return [f"{counted(len(ignored), 'file or folder', 'files or folders')} skipped: {reasons(ignored)}"]
