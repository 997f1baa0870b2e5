from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thawline.data.check import check
from thawline.data.near_duplicates import LARGEST_DISTANCE, near_duplicates
from thawline.data.sources import read_images
from thawline.data.survey import difference_hash


def _flipped(start: bytes, bits: int) -> str:
    value = np.unpackbits(np.frombuffer(start, np.uint8))
    value[:bits] ^= 1
    return np.packbits(value).tobytes().hex()


def test_groups_are_linked_within_the_distance() -> None:
    base = np.random.default_rng(0).bytes(16)
    near, chain, far = LARGEST_DISTANCE, 2 * LARGEST_DISTANCE, 3 * LARGEST_DISTANCE + 1
    assert near_duplicates([base.hex(), _flipped(base, near), _flipped(base, far)]) == [[0, 1]]
    assert near_duplicates([_flipped(base, chain), base.hex(), _flipped(base, near)]) == [[0, 1, 2]]
    assert near_duplicates([base.hex(), _flipped(base, near + 1)]) == []
    assert near_duplicates(["", "", base.hex(), base.hex()]) == [[2, 3]]
    assert near_duplicates([]) == []


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_groups_are_those_of_comparing_every_pair(share: float) -> None:
    generator = np.random.default_rng(0)
    bits = generator.random((600, 128)) < share
    copies = bits[generator.integers(0, 600, 300)] ^ (generator.random((300, 128)) < 0.06)
    bits = np.concatenate([bits, copies])
    distance = (bits[:, None] ^ bits[None, :]).sum(axis=2)
    linked: list[list[int]] = []
    for position in range(len(bits)):
        if not any(position in group for group in linked):
            linked.append(_reached(distance <= LARGEST_DISTANCE, position))
    expected = [group for group in linked if len(group) > 1]
    assert 50 < len(expected) < 300
    assert near_duplicates([row.tobytes().hex() for row in np.packbits(bits, axis=1)]) == expected


def _reached(near: np.ndarray, start: int) -> list[int]:
    reached, waiting = {start}, [start]
    while waiting:
        new = set(np.flatnonzero(near[waiting.pop()]).tolist()) - reached
        reached |= new
        waiting += new
    return sorted(reached)


def test_thousands_of_frames_of_one_video_are_one_group_without_a_table_of_pairs() -> None:
    generator = np.random.default_rng(0)
    frames = (generator.random(128) < 0.5) ^ (generator.random((5000, 128)) < 0.01)
    hashes = [row.tobytes().hex() for row in np.packbits(frames, axis=1)]
    tracemalloc.start()
    groups = near_duplicates(hashes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(group) for group in groups] == [5000]
    assert peak < 50 * 2**20  # all pairs would be 12.5 million


def test_a_flat_image_is_like_no_other() -> None:
    noise = np.random.default_rng(0).integers(100, 105, (64, 64, 3), dtype=np.uint8)
    assert difference_hash(Image.fromarray(noise)) == ""


@pytest.mark.slow
def test_copies_of_photographs_are_found_and_other_photographs_are_not(shared: Path) -> None:
    images = read_images(shared / "data" / "flowers5")
    paths = images.paths[::40]
    originals = [difference_hash(Image.open(path).convert("RGB")) for path in paths]
    assert near_duplicates(originals) == []
    copies = []
    for path in paths:
        stream = io.BytesIO()
        Image.open(path).convert("RGB").resize((80, 80)).save(stream, "JPEG", quality=60)
        copies.append(difference_hash(Image.open(stream).convert("RGB")))
    found = near_duplicates(originals + copies)
    assert sum(group == [group[0], group[0] + len(paths)] for group in found) >= 0.97 * len(paths)


@pytest.mark.slow
def test_flowers_hold_recolored_copies(shared: Path) -> None:
    found = check(read_images(shared / "data" / "flowers5"), threads=2)
    assert len(found.duplicates) == 6
    assert 10 <= len(found.near_duplicates) <= 25  # inspected by eye: each is the same photograph twice
