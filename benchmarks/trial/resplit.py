"""Fresh splits of a data set: pooled, stratified, copies and look-alikes of one image always together."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thawline.config import DataConfig
from thawline.data.cache import user_cache
from thawline.data.facts_cache import survey_again
from thawline.data.groups import kept_together
from thawline.data.near_duplicates import near_duplicates
from thawline.data.read import read_named
from thawline.data.splits import draw_splits, limit_images
from thawline.data.survey import Facts
from thawline.records import write_text


def resplit(data: Path, split: int, limit: int | None, folder: Path) -> Path:
    """A manifest of `data` with 60/20/20 splits drawn by `split`; what the data set calls train or test is pooled.

    The draw of `limit` images is the same for every split.
    """
    path = folder / f"{data.name}-split{split}.csv"
    if path.exists():
        return path
    images = read_named(str(data.resolve()), user_cache() / "data")
    pooled = replace(images, items=tuple(replace(item, split=None) for item in images.items))
    drawn = limit_images(pooled, limit, seed=0)
    facts = survey_again(drawn.paths, root=drawn.root, cache=user_cache() / "facts")
    splits = draw_splits(drawn, _pictures(facts), DataConfig(seed=split))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "split"])
    for item, name in zip(drawn.items, splits.assignment, strict=True):
        table.writerow([str(item.path), item.label, name])
    write_text(path, text.getvalue())
    return path


def _pictures(facts: Sequence[Facts]) -> list[str]:
    """A name for every image, equal for those that show the same picture."""
    groups: list[str | None] = [None] * len(facts)
    for number, alike in enumerate(near_duplicates([fact.difference_hash for fact in facts])):
        for index in alike:
            groups[index] = str(number)
    return [str(number) for number in kept_together([fact.sha256 for fact in facts], groups)]
