"""Images that look alike although their files differ: resized, compressed again, brightened, recoloured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LARGEST_DISTANCE = 8
"""Bits of 128 in which two difference hashes may differ. On photographs, copies at 60 % of the size or at JPEG quality
60 stay within it in 99 of 100 cases, and different pictures hardly ever come that close."""

LARGEST_SEARCH = 100_000
"""Different hashes; every pair is compared, so that twice as many images take four times as long."""

_BLOCK = 1024


def lookalikes(hashes: Sequence[str]) -> list[list[int]]:
    """Groups of positions, two or more each, linked by hashes at most `LARGEST_DISTANCE` bits apart.

    `hashes` are those of `survey.difference_hash`; an empty one is like no other. Nothing is found among more than
    `LARGEST_SEARCH` different hashes.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, one in enumerate(hashes):
        if one:
            positions[one].append(position)
    different = list(positions)
    if not different or len(different) > LARGEST_SEARCH:
        return []
    groups: dict[int, list[int]] = defaultdict(list)
    for one, group in zip(different, _linked(_words(different)), strict=True):
        groups[int(group)] += positions[one]
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _words(hashes: Sequence[str]) -> np.ndarray:
    """[n, 2] uint64."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)


def _linked(words: np.ndarray) -> np.ndarray:
    """[n], the number of the group that each hash belongs to."""
    rows, columns = [], []
    for start in range(0, len(words), _BLOCK):
        block, rest = words[start : start + _BLOCK], words[start:]
        distance = sum(np.bitwise_count(block[:, None, word] ^ rest[None, :, word]) for word in range(words.shape[1]))
        row, column = np.nonzero(np.asarray(distance) <= LARGEST_DISTANCE)
        rows.append(row + start)
        columns.append(column + start)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(len(words), len(words)))
    groups: np.ndarray = connected_components(graph, directed=False)[1]
    return groups
