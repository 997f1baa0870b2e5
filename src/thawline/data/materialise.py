"""Images that do not come as files become files once, since all that follows reads files.

An entry of the cache is a folder with `images.csv` (path, label, split), so it is a data set on its own: any command
that takes a manifest reads it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from PIL import Image

from thawline.data import cache as cache_folder
from thawline.data.decode import DECODER_VERSION, UnreadableError, load, orientation, quiet, to_rgb
from thawline.data.manifest import read_manifest
from thawline.data.sources import ImageSet, Item, Split, image_set, split_named
from thawline.errors import DataError
from thawline.formatting import counted
from thawline.records import fingerprint

FORMAT_VERSION = 1
"""Goes up whenever the files of an entry change; entries of another version are not used."""

_MANIFEST, _ABOUT = "images.csv", "source.json"

# What PNG stores so that the decoder sees it as it was; other modes are stored as the decoder makes them.
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
    """One image of a source that is not made of files."""

    content: bytes | Image.Image
    """The bytes of an image file, which are stored as they are, or a picture, which becomes a PNG file."""
    label: str | None
    """The class; None or blank = the source does not say, and the image is left out."""
    split: Split | None = None


def entry_key(source: str, *parts: object) -> str:
    """The name of an entry: it changes with the source, with `parts` (what the content depends on) and the decoder."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", source)[-48:].strip("-.")
    return f"{slug}-{fingerprint(FORMAT_VERSION, DECODER_VERSION, source, *parts)[:16]}"


def find_materialised(source: str, cache: Path, key: str) -> ImageSet | None:
    """The images of an earlier `materialise` with this key, or None; the source itself is not touched."""
    entry = cache_folder.find(cache, key)
    return None if entry is None else _read_entry(entry, source)


def materialise(
    source: str, samples: Iterable[Sample], cache: Path, *, key: str | None = None, notes: Sequence[str] = ()
) -> ImageSet:
    """Write every labelled image into a new entry of `cache`, which appears whole or not at all.

    Files are named by their position in the source: `test/00000017.png` is number 17 (from 0) of its test split.
    Without `key` the entry is named by its content. Raises `DataError` if the source cannot be read or the cache not
    be written, or if no image has a label.
    """
    with cache_folder.building(cache) as folder:
        rows, content, missing = _write_images(folder, source, samples)
        if not rows:
            raise DataError(f"{source!r} has no image with a label.")
        left_out = [
            f"{counted(count, 'image')} of {split or 'the data set'} without a label, left out"
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
    """Rows of the table, the SHA-256 of all files, and how many images of each split have no label."""
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
            encoded = sample.content if isinstance(sample.content, bytes) else _as_png(sample.content)
        except UnreadableError as error:
            raise DataError(f"{source!r}: image {number} of {sample.split or 'all'} {error}; replace it.") from error
        path = folder / (sample.split or "images") / f"{number:08d}{_ending(encoded)}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded)
        content.update(sha256(encoded).digest())
        rows.append((path.relative_to(folder).as_posix(), label, sample.split or ""))
    return rows, content.hexdigest(), missing


def _reading(source: str, samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples; an `OSError` on their side is not one of the cache."""
    try:
        yield from samples
    except OSError as error:
        raise DataError(f"{source!r} cannot be read ({' '.join(str(error).split())}).") from error


def _as_png(image: Image.Image) -> bytes:
    """A file that decodes to the same pixels as the picture itself; raises `UnreadableError`."""
    with quiet():
        load(image)
        if image.mode not in _PNG_MODES or orientation(image) != 1:
            image = to_rgb(image)
        stream = io.BytesIO()
        image.save(stream, "PNG")
    return stream.getvalue()


def _ending(content: bytes) -> str:
    """For people and their viewers; the decoder goes by the content."""
    return next((ending for start, ending in _ENDINGS if content.startswith(start)), "")


def _write_table(folder: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with (folder / _MANIFEST).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "label", "split"])
        writer.writerows(rows)


def _read_entry(entry: Path, source: str) -> ImageSet:
    rows, _ = read_manifest(entry / _MANIFEST)
    about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    items = [Item(row.path, row.label, split_named(row.split, row.where)) for row in rows]
    return image_set(entry, items, notes=about["notes"], where=Path(source))
