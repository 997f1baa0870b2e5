"""What is wrong with a data set: unreadable files, copies across labels and splits, classes too small, imbalance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thawline.data.pixels import require_readable
from thawline.data.sources import SPLITS, ImageSet
from thawline.data.splits import copies_of_one_image
from thawline.data.survey import Facts, Progress, survey

FORMAT_VERSION = 1

IMBALANCE = 10.0
"""From this ratio between the largest and the smallest class on, it is worth a warning."""

SMALL_CLASS = 10
"""Below this number of images, a class's figures say little."""


@dataclass(frozen=True)
class Duplicate:
    """Files with the same bytes."""

    positions: tuple[int, ...]
    """In `ImageSet.items`."""
    labels: tuple[str, ...]
    """Distinct labels; more than one is a contradiction."""
    splits: tuple[str, ...]
    """Distinct given splits; more than one is a leak."""


@dataclass(frozen=True)
class Check:
    """The findings on one data set."""

    images: ImageSet
    facts: tuple[Facts, ...]
    duplicates: tuple[Duplicate, ...]

    @property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each item's file; empty if it cannot be opened."""
        return tuple(one.sha256 for one in self.facts)

    @property
    def unreadable(self) -> tuple[int, ...]:
        """Positions of the items that are no images."""
        return tuple(index for index, one in enumerate(self.facts) if one.error is not None)

    @property
    def contradictions(self) -> tuple[Duplicate, ...]:
        """One image under two or more labels."""
        return tuple(one for one in self.duplicates if len(one.labels) > 1)

    @property
    def leaks(self) -> tuple[Duplicate, ...]:
        """One image in two or more of the given splits."""
        return tuple(one for one in self.duplicates if len(one.splits) > 1)

    @property
    def class_counts(self) -> dict[str, int]:
        """Readable images per class, over all splits."""
        readable = [item.label for item, one in zip(self.images.items, self.facts, strict=True) if one.error is None]
        counts = Counter(readable)
        return {name: counts[name] for name in self.images.classes}

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each of the smallest."""
        counts = self.class_counts.values()
        return max(counts) / max(1, min(counts))

    def require_readable(self) -> None:
        """Raise `DataError` if there are unreadable images."""
        require_readable(self.images.paths, self.facts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should look at, one line each, worst first."""
        small = [name for name, count in self.class_counts.items() if count < SMALL_CLASS]
        lines = [
            (len(self.unreadable), "{} image(s) cannot be read."),
            (len(self.contradictions), "{} image(s) are there under two or more labels; all copies go to train."),
            (
                len(self.leaks),
                "{} image(s) have exact copies in two splits; only the copy furthest from train is used.",
            ),
            (len(self.duplicates), "{} image(s) are there more than once, byte for byte."),
            (len(small), f"{{}} class(es) have fewer than {SMALL_CLASS} images: {', '.join(map(repr, small[:5]))}."),
        ]
        warnings = [text.format(count) for count, text in lines if count]
        if self.imbalance >= IMBALANCE:
            warnings.append(f"The largest class has {self.imbalance:.0f} times as many images as the smallest.")
        return (*warnings, *self.images.notes)

    def to_dict(self) -> dict[str, Any]:
        """What check.json holds."""
        names = [self.images.name(item) for item in self.images.items]
        return {
            "format_version": FORMAT_VERSION,
            "root": str(self.images.root),
            "images": len(names),
            "classes": self.class_counts,
            "given_splits": {
                name: count for name in SPLITS if (count := sum(item.split == name for item in self.images.items))
            },
            "imbalance": self.imbalance,
            "warnings": list(self.warnings),
            "unreadable": [{"path": names[index], "reason": self.facts[index].error} for index in self.unreadable],
            "duplicates": [_duplicate(one, names) for one in self.duplicates],
            "ignored": [{"path": str(one.path), "reason": one.reason} for one in self.images.ignored],
        }


def check(
    images: ImageSet,
    *,
    threads: int = 0,
    progress: Progress | None = None,
    facts: Sequence[Facts] | None = None,
) -> Check:
    """Examine every file: decode it in full, unless its `facts` are known (from `PixelStore.facts`)."""
    if facts is None:
        facts = [one.facts for one in survey(images.paths, threads=threads, progress=progress)]
    duplicates = [
        Duplicate(
            tuple(same),
            tuple(sorted({images.items[index].label for index in same})),
            tuple(name for name in SPLITS if any(images.items[index].split == name for index in same)),
        )
        for same in copies_of_one_image([one.sha256 for one in facts])
    ]
    return Check(images, tuple(facts), tuple(duplicates))


def _duplicate(one: Duplicate, names: Sequence[str]) -> dict[str, Any]:
    return {
        "paths": [names[index] for index in one.positions],
        "labels": list(one.labels),
        "splits": list(one.splits),
    }
