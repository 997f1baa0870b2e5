"""Near-duplicates: images resized, recompressed, brightened or recolored, so that their files differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LARGEST_DISTANCE = 8
"""Number of bits, out of 128, in which the difference hashes of near-duplicates may differ. On photographs, copies at
60 % of the size or at JPEG quality 60 stay within it in 99 of 100 cases; different images hardly ever do."""

LARGEST_SEARCH = 100_000
"""Largest number of distinct hashes searched: time grows quadratically if many images share most of their bits."""

_BANDS = LARGEST_DISTANCE + 1
"""Number of bands per hash: two hashes that differ in fewer bits than there are bands have a band in common."""


def near_duplicates(hashes: Sequence[str]) -> list[list[int]]:
    """Groups of two or more positions, linked by hashes at most `LARGEST_DISTANCE` bits apart.

    `hashes` come from `survey.difference_hash`; an empty hash matches nothing. Above `LARGEST_SEARCH` distinct hashes
    the search is skipped and the result is empty.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, value in enumerate(hashes):
        if value:
            positions[value].append(position)
    different = list(positions)
    if not different or len(different) > LARGEST_SEARCH:
        return []
    groups: dict[int, list[int]] = defaultdict(list)
    for value, group in zip(different, _linked(_words(different)), strict=True):
        groups[int(group)] += positions[value]
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _words(hashes: Sequence[str]) -> np.ndarray:
    """The hashes as [n, 2] uint64."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)


def _linked(words: np.ndarray) -> np.ndarray:
    """Group number of each hash, [n]."""
    group = np.arange(len(words))
    for band in _bands(words):
        group = _joined_within(words, band, group)
    return group


def _bands(words: np.ndarray) -> np.ndarray:
    """Bands [bands, n] of every ninth bit each, because neighboring bits are often equal in all images."""
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    length = bits.shape[1] // _BANDS
    spread = bits[:, : length * _BANDS].reshape(len(words), length, _BANDS)
    bands: np.ndarray = np.einsum("nlb,l->bn", spread, 1 << np.arange(length), dtype=np.int64)
    return bands


def _joined_within(words: np.ndarray, band: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Groups [n] after comparing each hash with all others that have the same value in `band`."""
    order = np.argsort(band, kind="stable")
    _, starts, ranked = np.unique(band[order], return_index=True, return_inverse=True)
    first = _undecided(np.arange(len(band)), ranked, starts, group[order])
    for step in range(1, len(band)):
        first = first[first < len(band) - step]
        first = first[ranked[first] == ranked[first + step]]
        if not first.size:
            break
        pairs = np.stack([order[first], order[first + step]])
        pairs = pairs[:, group[pairs[0]] != group[pairs[1]]]
        distance = np.bitwise_count(words[pairs[0]] ^ words[pairs[1]]).sum(axis=1)
        if (near := distance <= LARGEST_DISTANCE).any():
            group = _joined(group, pairs[:, near])
            first = _undecided(first, ranked, starts, group[order])
    return group


def _undecided(first: np.ndarray, ranked: np.ndarray, starts: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Those of `first` whose band value occurs in several groups: the many frames of a video soon form one group."""
    mixed = np.minimum.reduceat(group, starts) != np.maximum.reduceat(group, starts)
    undecided: np.ndarray = first[mixed[ranked[first]]]
    return undecided


def _joined(group: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Groups [n] after merging the two groups of each of the pairs [2, p]."""
    row, column = group[pairs]
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(len(group), len(group)))
    joined: np.ndarray = connected_components(graph, directed=False)[1][group]
    return joined
