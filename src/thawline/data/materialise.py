"""Writes images that do not come as files to the cache once, because everything downstream reads files.

A cache entry is a folder with `images.csv` (path, label, split), and so a dataset in itself: any command that takes a
manifest can read it.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from PIL import Image

from thawline.data import cache as cache_folder
from thawline.data.decode import DECODER_VERSION, UnreadableError, load, orientation, quiet, to_rgb
from thawline.data.layout import Split, split_named
from thawline.data.manifest import read_manifest
from thawline.data.sources import ImageSet, Item, image_set
from thawline.errors import DataError
from thawline.formatting import counted
from thawline.records import fingerprint
from thawline.spreadsheet import write_rows

FORMAT_VERSION = 1
"""Incremented whenever the files of an entry change; entries of other versions are not used."""

_MANIFEST, _ABOUT = "images.csv", "source.json"

# Modes that a PNG round-trips unchanged; images of other modes are stored as decoded RGB.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})

_ENDINGS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
)


@dataclass(frozen=True)
class Sample:
    """One image of a source that does not consist of files."""

    content: bytes | Image.Image
    """The bytes of an image file, stored as they are, or a PIL image, stored as PNG."""
    label: str | None
    """Class name; images without a label (None or blank) are left out."""
    split: Split | None = None


def entry_key(source: str, *parts: object) -> str:
    """Name of an entry. It depends on the source, on `parts` (what determines the content) and on the decoder."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", source)[-48:].strip("-.")
    return f"{slug}-{fingerprint(FORMAT_VERSION, DECODER_VERSION, source, *parts)[:16]}"


def find_materialised(
    source: str, cache: Path, key: str, note: cache_folder.Note = cache_folder.silent
) -> ImageSet | None:
    """The images of an earlier `materialise` with this key, or None; does not access the source.

    Every file is compared with its digest. A damaged entry is removed, with a line through `note`.
    """
    return cache_folder.read(cache, key, lambda entry: _read_entry(entry, source), note)


def find_or_write(source: str, cache: Path, key: str, write: Callable[[], ImageSet]) -> ImageSet:
    """The images of an earlier `materialise` with this key, or newly materialised by `write`."""
    notes: list[str] = []
    found = find_materialised(source, cache, key, notes.append)
    images = found if found is not None else write()
    return replace(images, notes=(*notes, *images.notes))


def materialise(
    source: str, samples: Iterable[Sample], cache: Path, *, key: str | None = None, notes: Sequence[str] = ()
) -> ImageSet:
    """Write every labeled image into a new entry of `cache`, published atomically.

    Files are named by their position in the source: `test/00000017.png` is number 17 (from 0) of its test split.
    Without `key`, the entry is named by its content. Raises `DataError` if the source cannot be read, the cache is not
    writable or no image has a label.
    """
    with cache_folder.building(cache) as folder:
        rows, content, missing = _write_images(folder, source, samples)
        if not rows:
            raise DataError(f"{source!r} has no labeled images.")
        left_out = [
            f"{counted(count, 'unlabeled image')} in {split or 'the dataset'} left out"
            for split, count in missing.items()
        ]
        _write_table(folder, rows)
        about = {"format_version": FORMAT_VERSION, "source": source, "notes": [*notes, *left_out]}
        (folder / _ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")
        entry = cache_folder.publish(folder, cache, key or entry_key(source, rows, content))
    return _read_entry(entry, source)


def _write_images(
    folder: Path, source: str, samples: Iterable[Sample]
) -> tuple[list[tuple[str, str, str]], str, Counter[Split | None]]:
    """The rows of the table, the SHA-256 of all files, and the number of unlabeled images per split."""
    rows: list[tuple[str, str, str]] = []
    content = sha256()
    seen: Counter[Split | None] = Counter()
    missing: Counter[Split | None] = Counter()
    for sample in _reading(source, samples):
        number = seen[sample.split]
        seen[sample.split] += 1
        label = (sample.label or "").strip()
        if not label:
            missing[sample.split] += 1
            continue
        try:
            encoded = sample.content if isinstance(sample.content, bytes) else as_png(sample.content)
        except UnreadableError as error:
            raise DataError(f"{source!r}: image {number} of {sample.split or 'all'} {error}; replace it.") from error
        path = folder / (sample.split or "images") / f"{number:08d}{_ending(encoded)}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded)
        content.update(sha256(encoded).digest())
        rows.append((path.relative_to(folder).as_posix(), label, sample.split or ""))
    return rows, content.hexdigest(), missing


def _reading(source: str, samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples; turns an `OSError` of the source into a `DataError`, so that it is not blamed on the cache."""
    try:
        yield from samples
    except OSError as error:
        raise DataError(f"{source!r} cannot be read ({' '.join(str(error).split())}).") from error


def as_png(image: Image.Image) -> bytes:
    """A PNG file that decodes to the same pixels as `image`; raises `UnreadableError`."""
    with quiet():
        load(image)
        if image.mode not in _PNG_MODES or orientation(image) != 1:
            image = to_rgb(image)
        stream = io.BytesIO()
        image.save(stream, "PNG")
    return stream.getvalue()


def _ending(content: bytes) -> str:
    """File extension for image viewers; the decoder goes by the content."""
    return next((ending for start, ending in _ENDINGS if content.startswith(start)), "")


def _write_table(folder: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with (folder / _MANIFEST).open("w", encoding="utf-8", newline="") as stream:
        write_rows(stream, (("path", "label", "split"), *rows), ending="\n")


def _read_entry(entry: Path, source: str) -> ImageSet:
    rows, spellings = read_manifest(entry / _MANIFEST)
    about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    items = [Item(row.path, row.label, split_named(row.split, row.where)) for row in rows]
    return image_set(entry, items, notes=[*about["notes"], *spellings], where=Path(source))
