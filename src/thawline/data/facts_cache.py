"""Cache of the survey's facts about files, valid while a file's size and modification time stay the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import PIL

from thawline.config import FULL_DEPTH
from thawline.data import cache as cache_folder
from thawline.data.decode import DECODER_VERSION
from thawline.data.survey import FACTS_VERSION, Facts, Progress, survey
from thawline.records import fingerprint

CACHE_LIMIT_BYTES = 2**28

_FACTS = "facts.json"

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""


def survey_again(
    paths: Sequence[Path],
    *,
    root: Path,
    cache: Path,
    threads: int = 0,
    bit_depth: int = FULL_DEPTH,
    progress: Progress | None = None,
    note: cache_folder.Note = cache_folder.silent,
) -> list[Facts]:
    """The facts of every file; only files that are new or changed since the last call are read.

    `cache` holds one entry per `root`; a damaged one is built again, with a line through `note`. `progress` counts the
    files that are read. Raises `DataError` if the cache is not writable.
    """
    depth = () if bit_depth == FULL_DEPTH else (bit_depth,)
    key = fingerprint(FACTS_VERSION, DECODER_VERSION, PIL.__version__, str(root.resolve()), *depth)
    known = cache_folder.read(cache, key, _parse, note) or {}
    stamps = {str(path): _stamp(path) for path in paths}
    facts = {name: cached for name, stamp in stamps.items() if (cached := _recalled(known, name, stamp)) is not None}
    unknown = [path for path in paths if str(path) not in facts]
    surveyed = survey(unknown, threads=threads, progress=progress, bit_depth=bit_depth)
    for path, found in zip(unknown, surveyed, strict=True):
        facts[str(path)] = found.facts
    if unknown or len(known) != len(facts):
        _write(cache, key, facts, stamps)
    return [facts[str(path)] for path in paths]


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _recalled(known: Mapping[str, tuple[Stamp, Facts]], name: str, stamp: Stamp | None) -> Facts | None:
    then, facts = known.get(name, (None, None))
    return facts if stamp is not None and then == stamp else None


def _parse(entry: Path) -> dict[str, tuple[Stamp, Facts]]:
    rows = json.loads((entry / _FACTS).read_text(encoding="utf-8"))
    return {path: ((size, time), Facts(*row)) for path, size, time, row in rows}


def _write(cache: Path, key: str, facts: Mapping[str, Facts], stamps: Mapping[str, Stamp | None]) -> None:
    # Files that could not be opened are not cached: their permissions may change without changing the stamp.
    rows = [[name, *stamp, file.to_row()] for name, file in facts.items() if (stamp := stamps[name]) and file.sha256]
    with cache_folder.building(cache) as folder:
        (folder / _FACTS).write_text(json.dumps(rows), encoding="utf-8")
        entry = cache_folder.publish(folder, cache, key, replace=True)
    cache_folder.prune(cache, CACHE_LIMIT_BYTES, keep=entry)
