"""Images on disk: class folders, split folders of class folders, manifests, and single files for prediction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from thawline.config import OnBad
from thawline.data.class_names import class_name, spelling_notes
from thawline.data.layout import Lost, Split, lost_folders, skipped_note, some, split_folders, split_named, subfolders
from thawline.data.manifest import MANIFEST_ENDINGS, read_manifest
from thawline.data.named import require_there
from thawline.data.walk import RUN, Ignored, is_run, sort_key, unwanted_name, walk
from thawline.errors import DataError
from thawline.formatting import counted, shortened
from thawline.reading import is_there


@dataclass(frozen=True)
class Item:
    """One image file with its label, given split and group."""

    path: Path
    label: str
    split: Split | None = None
    """The split given by the dataset; None = to be drawn."""
    group: str | None = None
    """All images of a group (patient, camera, video) are in the same split."""


@dataclass(frozen=True)
class ImageSet:
    """The images of a dataset in a fixed order, and its class map."""

    root: Path
    items: tuple[Item, ...]
    """Sorted by the code points of their paths."""
    classes: tuple[str, ...]
    """Class names of the training images, or of all images without any, sorted by code points; the position is the
    class index everywhere."""
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The image files, one per item."""
        return tuple(item.path for item in self.items)

    @property
    def targets(self) -> tuple[int, ...]:
        """The class index of every item."""
        index = {name: number for number, name in enumerate(self.classes)}
        return tuple(index[item.label] for item in self.items)

    def name(self, item: Item) -> str:
        """The item's path relative to the root, with forward slashes, as reports and splits.csv show it."""
        if item.path.is_relative_to(self.root):
            return item.path.relative_to(self.root).as_posix()
        return item.path.as_posix()


def read_images(data: str | Path, *, on_bad: OnBad = "error", known: Collection[str] | None = None) -> ImageSet:
    """Read `root/class/**`, `root/SPLIT/class/**` (see `layout.split_of`) or a .csv or .tsv manifest.

    The label is the name of the class folder (in Unicode NFC); its subfolders do not matter. Raises `DataError` for a
    folder that is missing or contains no images, and, unless `on_bad` is "skip", if a class or split folder has no
    usable images. `known` are the classes of a model that is to be scored; without them the images are for training,
    and `require_trainable` is applied.
    """
    images = _read(Path(data), on_bad, known)
    return images if known is not None else require_trainable(images, str(data))


def _read(root: Path, on_bad: OnBad, known: Collection[str] | None) -> ImageSet:
    data = str(root)
    require_there(root)
    if root.suffix.lower() in MANIFEST_ENDINGS and root.is_file():
        rows, notes = read_manifest(root)
        items = [Item(row.path, row.label, split_named(row.split, row.where), row.group) for row in rows]
        return image_set(root.parent, items, notes=notes, where=root)
    if not root.is_dir():
        raise DataError(f"{data!r} is a file: pass a folder of class folders, or a .csv or .tsv manifest.")
    if is_run(root):
        raise DataError(f"{data!r} is a thawline run: pass the folder of images.")
    return _read_folder(root, on_bad, known or ())


def _read_folder(root: Path, on_bad: OnBad, known: Collection[str]) -> ImageSet:
    files, ignored = walk(root)
    if not files:
        raise DataError(
            f"{str(root)!r} contains no images{_most_frequent(ignored)}: it needs one subfolder of images per class."
        )
    parts = {file: file.relative_to(root).parts for file in files}
    folders = split_folders(root, parts.values(), known)
    found = [_item(file, parts[file], folders) for file in files]
    items = [item for item in found if isinstance(item, Item)]
    ignored += [entry for entry in found if isinstance(entry, Ignored)]
    lost = lost_folders(root, folders, {item.label for item in items}, ignored)
    if lost and on_bad == "error":
        raise DataError(_refusal(root, lost))
    notes = [f"{folder} left out: no usable images" for folder in map(str, lost)]
    spelled = {parts[item.path][1 if folders else 0]: item.label for item in items}
    notes += [*_notes(parts.values(), folders), *_runs(ignored), *spelling_notes(spelled), *skipped_note(ignored)]
    return image_set(root, items, [*ignored, *_empty_folders(root, folders, items)], notes)


def _refusal(root: Path, lost: Sequence[Lost]) -> str:
    folders = "folder" if len(lost) == 1 else "folders"
    return (
        f"{str(root)!r} has no usable images in the {folders} {'; '.join(map(str, lost[:3]))}"
        f"{f' and {len(lost) - 3} more' if len(lost) > 3 else ''}; convert or copy images into "
        f"{'it' if len(lost) == 1 else 'them'}, remove the {folders}, or pass `on_bad='skip'` to leave them out."
    )


def _runs(ignored: Sequence[Ignored]) -> list[str]:
    runs = [entry.path.name for entry in ignored if entry.reason == RUN]
    return [f"{counted(len(runs), 'folder')} of thawline runs skipped: {some(runs)}"] if runs else []


def image_set(
    root: Path,
    items: Sequence[Item],
    ignored: Sequence[Ignored] = (),
    notes: Sequence[str] = (),
    *,
    where: Path | None = None,
) -> ImageSet:
    """Sort the items and make the class map from train, or from all images without a train split.

    `where` names the source in the error for a set without images, if it is not the root folder.
    """
    if not items:
        raise DataError(
            f"{str(where or root)!r} contains no images in class folders: it needs one subfolder of images per class."
        )
    of_train = {item.label for item in items if item.split in (None, "train")}
    classes = tuple(sorted(of_train or {item.label for item in items}))
    ordered = tuple(sorted(items, key=lambda item: sort_key(item.path)))
    ignored = tuple(sorted(ignored, key=lambda entry: sort_key(entry.path)))
    return ImageSet(root, ordered, classes, ignored, tuple(notes))


def require_trainable(images: ImageSet, source: str) -> ImageSet:
    """The same images, with notes on classes that val or test lack, if they can be used for training.

    Raises `DataError`, naming the `source`, if splits are given to some images only, without train, with a class that
    train lacks, or if there are fewer than two classes.
    """
    given = {item.split for item in images.items}
    if None in given and len(given) > 1:
        raise DataError(
            f"{source!r}: some images have a split and others do not; give a split to all images or to none."
        )
    if None not in given and "train" not in given:
        raise DataError(f"{source!r} has no training images, only {' and '.join(sorted(map(str, given)))}.")
    missing = _compare_classes(source, images.items, images.classes)
    if len(images.classes) < 2:
        raise DataError(f"{source!r} has only one class, {images.classes[0]!r}: classification needs at least two.")
    return replace(images, notes=(*images.notes, *missing))


def find_images(paths: Iterable[str | Path]) -> tuple[list[Path], list[Ignored]]:
    """Images to predict: the given files, whatever their extension, and the images in the given folders, sorted.

    Raises `DataError` if a path does not exist or if no images are found.
    """
    images: set[Path] = set()
    ignored: list[Ignored] = []
    for path in map(Path, paths):
        if not is_there(path):
            raise DataError(f"{str(path)!r} does not exist: pass image files or folders.")
        if path.is_dir():
            found, passed_over = walk(path)
            images.update(found)
            ignored += passed_over
        else:
            images.add(path)
    if not images:
        raise DataError(nothing_found(ignored, "pass image files or folders."))
    return sorted(images, key=sort_key), ignored


def nothing_found(ignored: Sequence[Ignored], advice: str) -> str:
    """That no images were found, most often why, and what to do."""
    return f"no images found{_most_frequent(ignored)}: {advice}"


def _item(file: Path, parts: tuple[str, ...], folders: dict[str, Split]) -> Item | Ignored:
    if folders and parts[0] not in folders and len(parts) > 1:
        return Ignored(file, "outside the train, val and test folders")
    below = parts[1:] if folders else parts
    if len(below) < 2:
        return Ignored(file, "outside the class folders")
    return Item(file, class_name(below[0]), folders.get(parts[0]))


def _empty_folders(root: Path, folders: dict[str, Split], items: Sequence[Item]) -> list[Ignored]:
    depth = 2 if folders else 1
    used = {item.path.relative_to(root).parts[:depth] for item in items}
    parents = [root / name for name in folders] or [root]
    return [
        Ignored(folder, "a class folder without images")
        for parent in parents
        for folder in subfolders(parent)
        if not folder.is_symlink() and not unwanted_name(folder.name) and not is_run(folder)
        if folder.relative_to(root).parts not in used
    ]


def _compare_classes(source: str, items: Sequence[Item], classes: tuple[str, ...]) -> list[str]:
    notes = []
    for split in ("val", "test"):
        labels = {item.label for item in items if item.split == split}
        if unknown := sorted(labels.difference(classes)):
            raise DataError(
                f"{source!r}: {split} has {listed_classes(unknown)} that train lacks: add training images of it or "
                "remove it."
            )
        if labels and (missing := sorted(set(classes) - labels)):
            notes.append(f"{split} has no images of {listed_classes(missing)}")
    return notes


def _notes(files: Iterable[tuple[str, ...]], folders: dict[str, Split]) -> list[str]:
    outside = sorted({parts[0] for parts in files if len(parts) > 1 and parts[0] not in folders}) if folders else []
    if not outside:
        return []
    return [f"{counted(len(outside), 'folder')} next to the split folders not used: {', '.join(map(repr, outside))}"]


def listed_classes(names: Sequence[str], limit: int = 5) -> str:
    """`class 'a'`, or `classes 'a', 'b' and 3 more`."""
    return f"{'class' if len(names) == 1 else 'classes'} {shortened([*map(repr, names)], limit)}"


def _most_frequent(ignored: Sequence[Ignored]) -> str:
    reasons = [entry.reason for entry in ignored]
    if not reasons:
        return ""
    frequent = max(sorted(set(reasons)), key=reasons.count)
    return f" ({len(reasons)} skipped, most often because: {frequent})"
