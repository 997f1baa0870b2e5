"""Images that are decoded when they are asked for, in place of a pixel cache: for more of them than fit on the disk."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from thawline.config import Preprocessing
from thawline.data import cache as cache_folder
from thawline.data.decode import load, quiet, to_rgb
from thawline.data.pixels import hash_files, require_readable, settings_key, store_key
from thawline.data.survey import Facts, Progress, survey
from thawline.data.transform import Transform, eval_transform
from thawline.errors import RunError
from thawline.reading import read_regular

AHEAD_BYTES = 64 << 20
"""Memory for images that are decoded ahead of their use, at least one per thread and at most `MOST_AHEAD`."""
MOST_AHEAD = 512
_FACTS = "facts.jsonl"


class Pixels(Protocol):
    """Rows of decoded images, in memory, in a file, or decoded on demand: [N, S, S, 3] uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, S, S, 3."""

    @property
    def nbytes(self) -> int:
        """Size of all rows."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """The images [B, S, S, 3] of some rows [B]."""


@dataclass
class PixelStream:
    """All images of a dataset, preprocessed except for the normalization, of which a few are in memory at a time.

    A file that is not what it was when the stream was made raises `RunError`.
    """

    key: str
    """Depends on every image's content, the preprocessing, the decoder and the Pillow version, as that of a store."""
    paths: Sequence[Path]
    facts: Sequence[Facts]
    """Facts about each file, in the order of the rows."""
    preprocessing: Preprocessing
    threads: int = 0
    """Threads that decode; 0 = one per core. What is returned does not depend on it."""
    decoded: int = 0
    """Images that were decoded so far, or are being decoded."""
    _expected: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    _next: int = 0
    """Position in `_expected` of the first row that is not being decoded."""
    _ahead: deque[tuple[int, Future[np.ndarray]]] = field(default_factory=deque)

    @property
    def shape(self) -> tuple[int, ...]:
        """N, S, S, 3."""
        return (len(self.paths), self.preprocessing.image_size, self.preprocessing.image_size, 3)

    @property
    def nbytes(self) -> int:
        """Bytes of all images, if they were in memory."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.paths)

    def expect(self, rows: np.ndarray) -> None:
        """Rows [n] in the order in which they will be asked for; a hint, which changes no result.

        Nothing is decoded before the first of them is asked for.
        """
        begun = self._next - len(self._ahead)
        if np.array_equal(self._expected[begun : begun + len(rows)], rows):  # what was announced before goes on
            return
        for _, future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._expected, self._next = rows, 0

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The images [B, S, S, 3] of rows [B]; rows of unreadable images are 0."""
        found: dict[int, Future[np.ndarray]] = {}
        asked = rows.tolist()
        for row in asked:
            if (expected := self._announced(row)) is not None:
                found.setdefault(row, expected)
            elif row not in found:
                found[row] = self._begin(row)
        while len(self._ahead) < self._most and self._look_ahead():
            pass
        return np.stack([found[row].result() for row in asked])

    def _announced(self, row: int) -> Future[np.ndarray] | None:
        """The row, if it is the next one that was announced."""
        if not self._ahead and not self._look_ahead():
            return None
        return self._ahead.popleft()[1] if self._ahead[0][0] == row else None

    def _look_ahead(self) -> bool:
        """Begin to decode one more of the rows that were announced; False if there is none."""
        if self._next == len(self._expected):
            return False
        row = int(self._expected[self._next])
        self._ahead.append((row, self._begin(row)))
        self._next += 1
        return True

    def _begin(self, row: int) -> Future[np.ndarray]:
        self.decoded += 1
        return self._pool.submit(self._decode, row)

    def _decode(self, row: int) -> np.ndarray:
        size = self.preprocessing.image_size
        if self.facts[row].error is not None:
            return np.zeros((size, size, 3), np.uint8)
        path = self.paths[row]
        try:
            content = read_regular(path)
        except OSError as error:
            raise RunError(f"{str(path)!r} can no longer be opened ({error.strerror}); {_PUT_BACK}.") from error
        if sha256(content).hexdigest() != self.facts[row].sha256:
            raise RunError(f"{str(path)!r} has changed since the run started; {_PUT_BACK}.")
        with quiet():
            image = self._transform(to_rgb(load(content), self.preprocessing.bit_depth))
        return np.frombuffer(image.tobytes(), np.uint8).reshape(size, size, 3)

    @cached_property
    def _transform(self) -> Transform:
        return eval_transform(self.preprocessing)

    @cached_property
    def _workers(self) -> int:
        return self.threads or os.cpu_count() or 1

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="stream")

    @cached_property
    def _most(self) -> int:
        """Images decoded ahead at most."""
        return max(self._workers, min(MOST_AHEAD, AHEAD_BYTES * len(self) // max(1, self.nbytes)))


_PUT_BACK = "restore it, then continue with `thawline resume`"


def open_stream(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    cache: Path,
    threads: int = 0,
    progress: Progress | None = None,
    on_bad: Literal["error", "skip"] = "error",
    note: cache_folder.Note = cache_folder.silent,
) -> PixelStream:
    """Look at every file once, keep the facts in the cache, and open the stream.

    Errors as of `pixels.build_pixels`: files that cannot be decoded, or resized, are found here, before any training.
    """
    facts = None
    # Files are hashed only if there may be facts about them.
    if any(cache.glob(f"{settings_key(preprocessing, len(paths))}-*")):
        key = store_key(hash_files(paths, threads=threads), preprocessing)
        facts = cache_folder.read(cache, key, lambda entry: _parse(entry, len(paths)), note)
    if facts is None:
        transform, depth = eval_transform(preprocessing), preprocessing.bit_depth
        looked = survey(paths, threads=threads, progress=progress, transform=transform, bit_depth=depth)
        facts = [file.facts for file in looked]
        key = store_key([file.sha256 for file in facts], preprocessing)
        with cache_folder.building(cache) as folder:
            with (folder / _FACTS).open("w", encoding="utf-8") as stream:
                stream.writelines(f"{json.dumps(file.to_row())}\n" for file in facts)
            entry = cache_folder.publish(folder, cache, key, replace=True)
        cache_folder.prune(cache, _CACHE_LIMIT_BYTES, keep=entry)
    if on_bad == "error":
        require_readable(paths, facts)
    return PixelStream(key, paths, facts, preprocessing, threads)


_CACHE_LIMIT_BYTES = 1 << 30


def _parse(entry: Path, count: int) -> list[Facts]:
    """Line by line, and every text that repeats once: a million of them fit into memory."""
    facts = list(_read(entry))
    if len(facts) != count:
        raise ValueError(f"it has {len(facts)} lines instead of {count}")
    return facts


def _read(entry: Path) -> Iterator[Facts]:
    with (entry / _FACTS).open(encoding="utf-8") as stream:
        for line in stream:
            sha, error, kind, mode, *rest = json.loads(line)
            yield Facts(sha, error, sys.intern(kind), sys.intern(mode), *rest)
