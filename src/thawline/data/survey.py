"""One pass over the files: read, hash and fully decode each, optionally keeping its transformed pixels."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from thawline.config import FULL_DEPTH
from thawline.data.decode import (
    OUT_OF_MEMORY,
    UnreadableError,
    frames,
    largest_sample,
    load,
    orientation,
    quiet,
    to_rgb,
)
from thawline.data.transform import Transform
from thawline.reading import read_regular

Progress = Callable[[int, int], None]
"""Called with the number of images done and the total."""

Item = TypeVar("Item")
Result = TypeVar("Result")

FACTS_VERSION = 2
"""Incremented whenever the facts of any file change, including its difference hash."""

_FLAT = 16
"""Smallest range of gray levels (of 256) in a thumbnail; below it, noise would determine the hash."""

_CORNER = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
_HERE = np.concatenate([_CORNER, _CORNER])
_NEXT = np.concatenate([_CORNER + 1, _CORNER + 9])
"""Positions in a flattened 9 x 9 thumbnail: the pixels that are compared, and the neighbor of each."""

_CHUNK = 16
"""Files per task: for single small files the overhead would exceed the decoding."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about one file."""

    sha256: str
    """SHA-256 of the bytes; empty if the file could not be read."""
    error: str | None = None
    """Why the file is not a readable image, in one line; the fields below then have their defaults."""
    format: str = ""
    """Pillow's name of the format: JPEG, PNG, ..."""
    mode: str = ""
    """Pillow's mode before the conversion to RGB: RGB, L, P, I;16, ..."""
    width: int = 0
    """Pixels, as stored, before any rotation."""
    height: int = 0
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 = upright."""
    frames: int = 1
    """Number of frames; only the first is used."""
    icc_profile: bool = False
    """Whether there is a color profile, which is ignored."""
    difference_hash: str = ""
    """128 bits in hexadecimal, similar for near-duplicates; empty for uniform images (see `difference_hash`)."""
    largest_sample: int = 0
    """Largest value in an image of 16-bit samples, alpha apart; 0 for every other."""

    def to_row(self) -> tuple[str | int | bool | None, ...]:
        """The fields in order, as JSON types; `Facts(*row)` is the inverse."""
        row: tuple[str | int | bool | None, ...] = _IN_ORDER(self)
        return row


_IN_ORDER = attrgetter(*Facts.__slots__)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The facts of one file and, for an image with a transform, its pixels."""

    facts: Facts
    pixels: np.ndarray | None = None
    """Transformed pixels [H, W, 3] uint8, read-only."""


def survey(
    paths: Sequence[Path],
    *,
    threads: int,
    progress: Progress | None = None,
    transform: Transform | None = None,
    bit_depth: int = FULL_DEPTH,
) -> Generator[Surveyed]:
    """Survey every file in the order of `paths`, with `threads` threads (0 = one per core).

    `bit_depth`: as in `decode.to_rgb`. Unreadable files have `facts.error`; nothing is raised. Only a few files per
    thread are in memory at a time.
    """
    with quiet():
        files = in_order(lambda path: examine(path, transform, bit_depth), paths, threads=threads)
        for done, file in enumerate(files, start=1):
            yield file
            if progress is not None:
                progress(done, len(paths))


def in_order(function: Callable[[Item], Result], items: Sequence[Item], *, threads: int) -> Generator[Result]:
    """`map` on several threads (0 = one per core), holding only a few results per thread at any time."""
    workers = threads or os.cpu_count() or 1
    if workers == 1:
        yield from map(function, items)
        return
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="images") as pool:
        try:
            while True:
                while len(waiting) < 2 * workers and (chunk := next(chunks, None)) is not None:
                    waiting.append(pool.submit(_each, function, chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def examine(path: Path, transform: Transform | None = None, bit_depth: int = FULL_DEPTH) -> Surveyed:
    """Read and decode one file, within `quiet`; errors are reported in `facts.error`."""
    try:
        content = read_regular(path)
        return _decoded(content, transform, bit_depth)
    except OSError as error:
        return Surveyed(Facts("", f"cannot be opened ({error.strerror})"))
    except MemoryError:
        return Surveyed(Facts("", OUT_OF_MEMORY))  # without a hash, so that no cache remembers it


def _decoded(content: bytes, transform: Transform | None, bit_depth: int) -> Surveyed:
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        image = load(content)
        rgb = to_rgb(image, bit_depth)
        pixels = _array(transform(rgb)) if transform else None
    except UnreadableError as error:
        return Surveyed(Facts(sha256, str(error)))
    return Surveyed(_facts(sha256, image, difference_hash(rgb)), pixels)


def _facts(sha256: str, image: Image.Image, look: str) -> Facts:
    return Facts(
        sha256,
        format=image.format or "",
        mode=image.mode,
        width=image.width,
        height=image.height,
        orientation=orientation(image),
        icc_profile="icc_profile" in image.info,
        frames=frames(image),
        difference_hash=look,
        largest_sample=largest_sample(image),
    )


def _array(image: Image.Image) -> np.ndarray:
    # Twice as fast as np.asarray, which matters for small images.
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def difference_hash(image: Image.Image) -> str:
    """Perceptual hash: 128 bits in hexadecimal that are similar for near-duplicates.

    The bits say whether each pixel of a 9 x 9 gray thumbnail is brighter than its right neighbor and than the pixel
    below. Resized or recompressed copies differ in few bits (dHash: Krawetz, "Kind of like that", 2013). An almost
    uniform thumbnail has no hash.
    """
    thumbnail = image.convert("L").resize((9, 9), Image.Resampling.BILINEAR, reducing_gap=3)
    content = thumbnail.tobytes()
    if max(content) - min(content) < _FLAT:
        return ""
    gray = np.frombuffer(content, np.uint8)
    return np.packbits(gray[_HERE] > gray[_NEXT]).tobytes().hex()
