from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thawline.data import lookalikes as module
from thawline.data.check import check
from thawline.data.lookalikes import LARGEST_DISTANCE, lookalikes
from thawline.data.sources import read_images
from thawline.data.survey import difference_hash


def _flipped(start: bytes, bits: int) -> str:
    value = np.unpackbits(np.frombuffer(start, np.uint8))
    value[:bits] ^= 1
    return np.packbits(value).tobytes().hex()


def test_groups_are_linked_within_the_distance() -> None:
    base = np.random.default_rng(0).bytes(16)
    near, chain, far = LARGEST_DISTANCE, 2 * LARGEST_DISTANCE, 3 * LARGEST_DISTANCE + 1
    assert lookalikes([base.hex(), _flipped(base, near), _flipped(base, far)]) == [[0, 1]]
    assert lookalikes([_flipped(base, chain), base.hex(), _flipped(base, near)]) == [[0, 1, 2]]
    assert lookalikes([base.hex(), _flipped(base, near + 1)]) == []
    assert lookalikes(["", "", base.hex(), base.hex()]) == [[2, 3]]
    assert lookalikes([]) == []


def test_every_pair_is_compared_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    hashes = [generator.bytes(16) for _ in range(50)]
    pairs = [(3, 47), (11, 12), (0, 49)]
    texts = [one.hex() for one in hashes]
    for a, b in pairs:
        texts[b] = _flipped(hashes[a], 5)
    for block in (1, 7, 1024):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert lookalikes(texts) == sorted([a, b] for a, b in pairs)


def test_a_flat_image_is_like_no_other() -> None:
    noise = np.random.default_rng(0).integers(100, 105, (64, 64, 3), dtype=np.uint8)
    assert difference_hash(Image.fromarray(noise)) == ""


@pytest.mark.slow
def test_copies_of_photographs_are_found_and_other_photographs_are_not(shared: Path) -> None:
    images = read_images(shared / "data" / "flowers5")
    paths = images.paths[::40]
    originals = [difference_hash(Image.open(path).convert("RGB")) for path in paths]
    assert lookalikes(originals) == []
    copies = []
    for path in paths:
        stream = io.BytesIO()
        Image.open(path).convert("RGB").resize((80, 80)).save(stream, "JPEG", quality=60)
        copies.append(difference_hash(Image.open(stream).convert("RGB")))
    found = lookalikes(originals + copies)
    assert sum(group == [group[0], group[0] + len(paths)] for group in found) >= 0.97 * len(paths)


@pytest.mark.slow
def test_flowers_hold_recoloured_copies(shared: Path) -> None:
    found = check(read_images(shared / "data" / "flowers5"), threads=2)
    assert len(found.duplicates) == 6
    assert 10 <= len(found.lookalikes) <= 25  # looked through by eye: each is one photograph twice
