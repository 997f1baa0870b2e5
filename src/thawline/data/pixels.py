"""Pixel cache: every image decoded once, resized and cropped as timm evaluates, in one memory-mapped file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
import timm
import torch
from torch import Tensor

from thawline.config import FULL_DEPTH, Preprocessing
from thawline.data import cache as cache_folder
from thawline.data.decode import DECODER_VERSION, bit_depth_of
from thawline.data.survey import FACTS_VERSION, Facts, Progress, in_order, survey
from thawline.data.transform import eval_transform
from thawline.errors import DataError
from thawline.reading import read_regular
from thawline.records import fingerprint

CACHE_LIMIT_BYTES = 8 * 2**30
"""Size limit of the pixel cache; the least recently used stores go first. The store in use may exceed it."""

STORE_VERSION = 1
"""Incremented whenever the file format of a store changes."""

_PIXELS, _FACTS = "pixels.npy", "facts.json"


@dataclass(frozen=True)
class PixelStore:
    """All images of a dataset, preprocessed except for the normalization."""

    key: str
    """Depends on every image's content, the preprocessing, the decoder and the Pillow version."""
    path: Path
    facts: tuple[Facts, ...]
    """Facts about each file, in the order of the rows."""
    array: np.ndarray = field(repr=False)
    """Read-only memory map [N, S, S, 3] uint8; rows of unreadable images are 0."""
    sha256: str
    """SHA-256 of the array's file, taken when the images were decoded."""

    @property
    def file(self) -> Path:
        """The file of `array`."""
        return self.path / _PIXELS

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...]) -> PixelStore:
        """Map a finished store into memory; raises `ValueError` if it holds anything but such an array and its facts.

        Whether the bytes are those that were written is up to `cache.verify`.
        """
        facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
        array = np.load(path / _PIXELS, mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != np.uint8 or len(facts) != len(array):
            raise ValueError(f"it holds {array.dtype} {array.shape} instead of uint8 {shape}")
        digest = cache_folder.sealed(path, path.name)[_PIXELS]
        return cls(path.name, path, tuple(Facts(*row) for row in facts), array, digest)


def build_pixels(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    cache: Path,
    threads: int = 0,
    progress: Progress | None = None,
    hashes: Sequence[str] | None = None,
    on_bad: Literal["error", "skip"] = "error",
    limit_bytes: int = CACHE_LIMIT_BYTES,
    note: cache_folder.Note = cache_folder.silent,
) -> PixelStore:
    """The store of these images, from the cache or newly built; `hashes` are the files' SHA-256, if known.

    A store that is damaged is built again, with a line through `note`.
    Raises `DataError` if images cannot be read (unless `on_bad` is "skip": then see `PixelStore.facts`), or if the
    cache is not writable.
    """
    shape = (len(paths), preprocessing.image_size, preprocessing.image_size, 3)
    store = None
    # Files are hashed only if a store with these settings exists.
    if any(cache.glob(f"{settings_key(preprocessing, len(paths))}-*")):
        key = store_key(hashes if hashes is not None else hash_files(paths, threads=threads), preprocessing)
        store = cache_folder.read(cache, key, lambda entry: PixelStore.open(entry, shape), note)
    if store is None:
        store = PixelStore.open(_build(paths, preprocessing, cache, threads, progress), shape)
        cache_folder.prune(cache, limit_bytes, keep=store.path)
    if on_bad == "error":
        require_readable(paths, store.facts)
    return store


def found_bit_depth(facts: Sequence[Facts]) -> int:
    """Bits that the values of the 16-bit images really have; 16 if they need all, or without such images."""
    return bit_depth_of(max((file.largest_sample for file in facts), default=0))


def require_readable(paths: Sequence[Path], facts: Sequence[Facts]) -> None:
    """Raise `DataError` if images are unreadable, naming the first."""
    bad = [(path, file.error) for path, file in zip(paths, facts, strict=True) if file.error is not None]
    if bad:
        count = f"{len(bad)} of {len(paths)} images cannot be used; first: " if len(bad) > 1 else ""
        raise DataError(
            f"{count}{str(bad[0][0])!r} {bad[0][1]}; replace or remove {'them' if len(bad) > 1 else 'it'}, "
            "or pass `on_bad='skip'` to leave unreadable images out."
        )


def hash_files(paths: Sequence[Path], *, threads: int = 0) -> list[str]:
    """SHA-256 of each file's bytes; empty where a file cannot be opened."""
    return list(in_order(_hash, paths, threads=threads))


def store_key(hashes: Sequence[str], preprocessing: Preprocessing) -> str:
    """Key of a store: the settings that determine its content, then the files."""
    return f"{settings_key(preprocessing, len(hashes))}-{fingerprint(list(hashes))}"


def settings_key(preprocessing: Preprocessing, images: int) -> str:
    """The first part of the keys of all stores with these settings and so many images."""
    # Mean and standard deviation are applied later, but the border is filled with the mean.
    border = preprocessing.mean if preprocessing.crop_mode == "border" else None
    geometry = (
        preprocessing.image_size,
        preprocessing.interpolation,
        preprocessing.crop_pct,
        preprocessing.crop_mode,
        border,
    )
    depth = () if preprocessing.bit_depth == FULL_DEPTH else (preprocessing.bit_depth,)
    versions = (STORE_VERSION, FACTS_VERSION, DECODER_VERSION, PIL.__version__, timm.__version__)
    return fingerprint(versions, (*geometry, *depth), images)[:16]


def normalize(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalize pixels [B, H, W, 3] uint8 to network input [B, 3, H, W] float32, channels last in memory.

    The operations and their order are timm's (ToTensor, then Normalize), so results are bitwise equal.
    """
    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(3, 1, 1)
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean).div_(std)


def _build(
    paths: Sequence[Path], preprocessing: Preprocessing, cache: Path, threads: int, progress: Progress | None
) -> Path:
    with cache_folder.building(cache) as folder:
        with (folder / _PIXELS).open("wb") as stream:
            writer = cache_folder.DigestWriter(stream)
            facts = _write_rows(writer, paths, preprocessing, threads, progress)
        (folder / _FACTS).write_text(json.dumps([file.to_row() for file in facts]), encoding="utf-8")
        # The key comes from the bytes just decoded, in case a file changed after it was hashed.
        key = store_key([file.sha256 for file in facts], preprocessing)
        return cache_folder.publish(folder, cache, key, {_PIXELS: writer.hexdigest()})


def _write_rows(
    stream: cache_folder.DigestWriter,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    threads: int,
    progress: Progress | None,
) -> list[Facts]:
    side = preprocessing.image_size
    shape = (len(paths), side, side, 3)
    np.lib.format.write_array_header_2_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    blank = bytes(math.prod(shape[1:]))
    facts = []
    transform, depth = eval_transform(preprocessing), preprocessing.bit_depth
    for image in survey(paths, threads=threads, progress=progress, transform=transform, bit_depth=depth):
        stream.write(blank if image.pixels is None else image.pixels.data)
        facts.append(image.facts)
    return facts


def _hash(path: Path) -> str:
    try:
        return sha256(read_regular(path)).hexdigest()
    except (OSError, MemoryError):
        return ""
