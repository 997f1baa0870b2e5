"""One pass over the files: read, hash, decode fully, and make each image's row of pixels on the way."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from thawline.data.decode import UnreadableError, frames, load, orientation, quiet, to_rgb

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""

Transform = Callable[[Image.Image], Image.Image]
"""From a decoded RGB image to the one whose pixels are wanted."""

Result = TypeVar("Result")

FACTS_VERSION = 2
"""Goes up whenever the facts of any file change, the difference hash among them."""

_FLAT = 16
"""Gray levels of 256 between the darkest and the brightest pixel of a thumbnail: below, noise decides its hash."""

_CORNER = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
_HERE = np.concatenate([_CORNER, _CORNER])
_NEXT = np.concatenate([_CORNER + 1, _CORNER + 9])
"""Positions in a flat thumbnail of 9 x 9: which pixel of its 8 x 8 is compared, and with which neighbour."""

_CHUNK = 16
"""Files per task: single tiny files would cost more in hand-over than in decoding."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one file turned out to be."""

    sha256: str
    """Of the bytes; empty if they could not be read."""
    error: str | None = None
    """Why the file is no image, in one line; the fields below are then at their defaults."""
    format: str = ""
    """Pillow's name: JPEG, PNG, ..."""
    mode: str = ""
    """Pillow's mode before the conversion to RGB: RGB, L, P, I;16, ..."""
    width: int = 0
    """Pixels, as stored, before any rotation."""
    height: int = 0
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 = upright."""
    frames: int = 1
    """More than one: only the first is used."""
    icc_profile: bool = False
    """Has a colour profile, which is ignored."""
    difference_hash: str = ""
    """128 bits in hexadecimal, close for images that look alike; empty for a flat one (`difference_hash`)."""

    def to_row(self) -> tuple[Any, ...]:
        """The fields in order, as JSON types; `Facts(*row)` is the inverse."""
        row: tuple[Any, ...] = _IN_ORDER(self)
        return row


_IN_ORDER = attrgetter(*Facts.__slots__)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The facts of one file and, if it is an image and a transform was asked for, its pixels."""

    facts: Facts
    pixels: np.ndarray | None = None
    """[H, W, 3] uint8, read-only."""


def survey(
    paths: Sequence[Path], *, threads: int, progress: Progress | None = None, transform: Transform | None = None
) -> Generator[Surveyed]:
    """Every file in the order of `paths`, decoded by `threads` threads (0 = one per core).

    Broken files come with `facts.error`; nothing is raised. Memory stays flat: only a few files per thread are in it.
    """
    with quiet():
        for done, one in enumerate(in_order(lambda path: examine(path, transform), paths, threads=threads), start=1):
            yield one
            if progress is not None:
                progress(done, len(paths))


def in_order(function: Callable[[Path], Result], paths: Sequence[Path], *, threads: int) -> Generator[Result]:
    """`map` on several threads (0 = one per core), holding only a few results per thread at any time."""
    workers = threads or os.cpu_count() or 1
    if workers == 1:
        yield from map(function, paths)
        return
    chunks = iter([paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)])
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


def _each(function: Callable[[Path], Result], paths: Sequence[Path]) -> list[Result]:
    return [function(path) for path in paths]


def examine(path: Path, transform: Transform | None = None) -> Surveyed:
    """Read and decode one file, inside `quiet`; what is wrong with it is in `facts.error`."""
    try:
        content = read(path)
    except OSError as error:
        return Surveyed(Facts("", f"cannot be opened ({error.strerror})"))
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        image = load(content)
        rgb = to_rgb(image)
        pixels = _array(transform(rgb)) if transform else None
    except UnreadableError as error:
        return Surveyed(Facts(sha256, str(error)))
    return Surveyed(_facts(sha256, image, difference_hash(rgb)), pixels)


def read(path: Path) -> bytes:
    """`path.read_bytes()` without the buffer between, which takes a fifth of the time where files are tiny."""
    with path.open("rb", buffering=0) as stream:
        return stream.readall()


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
    )


def _array(image: Image.Image) -> np.ndarray:
    # Twice as fast as np.asarray, which counts where images are tiny.
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def difference_hash(image: Image.Image) -> str:
    """128 bits in hexadecimal that are close for images which look alike.

    In a gray thumbnail of 9 x 9 pixels: is each pixel brighter than its right neighbour, and than the one below it?
    Copies that were resized or compressed again differ in few bits (dHash: Krawetz, "Kind of like that", 2013). A
    thumbnail that is all but flat has no such pattern, and no hash.
    """
    thumbnail = image.convert("L").resize((9, 9), Image.Resampling.BILINEAR, reducing_gap=3)
    content = thumbnail.tobytes()
    if max(content) - min(content) < _FLAT:
        return ""
    gray = np.frombuffer(content, np.uint8)
    return np.packbits(gray[_HERE] > gray[_NEXT]).tobytes().hex()
