"""What is wrong with a data set: unreadable files, copies across labels and splits, classes too small, imbalance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from thawline.data.groups import copies_of_one_image
from thawline.data.near_duplicates import near_duplicates
from thawline.data.pixels import require_readable
from thawline.data.sources import SPLITS, ImageSet, Split
from thawline.data.survey import Facts, Progress, survey
from thawline.formatting import counted

FORMAT_VERSION = 1

IMBALANCE = 10.0
"""From this ratio between the largest and the smallest class on, it is worth a warning."""

SMALL_CLASS = 10
"""Below this number of images, a class's figures say little."""

_ODD: dict[str, Callable[[Facts], bool]] = {
    "rotated by EXIF": lambda one: one.orientation != 1,
    "16-bit, 32-bit or floating-point": lambda one: one.mode == "F" or one.mode.startswith("I"),
    "more than one frame": lambda one: one.frames > 1,
    "colour profile": lambda one: one.icc_profile,
    "transparency": lambda one: one.mode in ("RGBA", "LA", "PA", "La", "RGBa"),
}


@dataclass(frozen=True)
class Alike:
    """Files with the same bytes, or images that look alike."""

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
    duplicates: tuple[Alike, ...]
    """The same bytes."""
    lookalikes: tuple[Alike, ...]
    """Different bytes, but almost the same picture; exact copies of them are listed along."""

    @property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each item's file; empty if it cannot be opened."""
        return tuple(one.sha256 for one in self.facts)

    @property
    def unreadable(self) -> tuple[int, ...]:
        """Positions of the items that are no images."""
        return tuple(index for index, one in enumerate(self.facts) if one.error is not None)

    @property
    def contradictions(self) -> tuple[Alike, ...]:
        """One image under two or more labels."""
        return tuple(one for one in self.duplicates if len(one.labels) > 1)

    @property
    def leaks(self) -> tuple[Alike, ...]:
        """One image in two or more of the given splits."""
        return tuple(one for one in self.duplicates if len(one.splits) > 1)

    @property
    def class_counts(self) -> dict[str, int]:
        """Readable images per class, over all splits."""
        pairs = zip(self.images.items, self.facts, strict=True)
        counts = Counter(item.label for item, one in pairs if one.error is None)
        return {name: counts[name] for name in self.images.classes}

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each of the smallest."""
        counts = self.class_counts.values()
        return max(counts) / max(1, min(counts))

    @property
    def leaking_lookalikes(self) -> tuple[Alike, ...]:
        """Almost the same picture in two or more of the given splits."""
        return tuple(one for one in self.lookalikes if len(one.splits) > 1)

    def torn_apart(self, assignment: Sequence[Split | None]) -> tuple[str, ...]:
        """One line if pictures that are almost equal came into two of the splits that were drawn."""
        groups = [{assignment[position] for position in one.positions} - {None} for one in self.lookalikes]
        drawn = [one for one, splits in zip(self.lookalikes, groups, strict=True) if len(splits) > 1 >= len(one.splits)]
        if not drawn:
            return ()
        return (
            f"{counted(len(drawn), 'picture')} almost equal to one in another split, as splits were drawn: the scores "
            "may flatter (--group-pattern keeps in one split what belongs together).",
        )

    @property
    def leaking_groups(self) -> tuple[str, ...]:
        """Groups with images in two or more of the given splits."""
        splits: dict[str, set[str]] = defaultdict(set)
        for item in self.images.items:
            if item.group and item.split:
                splits[item.group].add(item.split)
        return tuple(group for group, names in splits.items() if len(names) > 1)

    @property
    def oddities(self) -> dict[str, int]:
        """How many images need more than plain decoding; `decode.DECODING_RULE` says what is done with them."""
        return {name: count for name, test in _ODD.items() if (count := sum(map(test, self._readable)))}

    @property
    def _readable(self) -> list[Facts]:
        return [one for one in self.facts if one.error is None]

    def require_readable(self) -> None:
        """Raise `DataError` if there are unreadable images."""
        require_readable(self.images.paths, self.facts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should look at, one line each, worst first."""
        small = [name for name, count in self.class_counts.items() if count < SMALL_CLASS]
        found = [
            (self.unreadable, "image", "that cannot be read."),
            (self.contradictions, "image", "under two or more labels; all copies go to train."),
            (self.leaks, "image", "with exact copies in two splits; the copies nearer to train are left out."),
            (self.leaking_groups, "group", "with images in two splits: the scores will flatter."),
            (self.leaking_lookalikes, "picture", "almost equal to one in another split."),
            (self.duplicates, "image", "stored more than once, byte for byte."),
            (small, "small class", f"of fewer than {SMALL_CLASS} images: {', '.join(map(repr, small[:5]))}."),
        ]
        plurals = {"small class": "small classes"}
        warnings = [f"{counted(len(some), noun, plurals.get(noun, ''))} {rest}" for some, noun, rest in found if some]
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
            "duplicates": [_named(one, names) for one in self.duplicates],
            "lookalikes": [_named(one, names) for one in self.lookalikes],
            "leaking_groups": list(self.leaking_groups),
            "oddities": self.oddities,
            "formats": _counts(one.format for one in self._readable),
            "modes": _counts(one.mode for one in self._readable),
            "sizes": _sizes(self._readable),
            "ignored": [one.to_dict() for one in self.images.ignored],
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
    hashes = [one.sha256 for one in facts]
    similar = near_duplicates([one.difference_hash for one in facts])
    return Check(
        images,
        tuple(facts),
        tuple(_alike(images, same) for same in copies_of_one_image(hashes)),
        tuple(_alike(images, same) for same in similar if len({hashes[index] for index in same}) > 1),
    )


def _alike(images: ImageSet, positions: Sequence[int]) -> Alike:
    items = [images.items[index] for index in positions]
    return Alike(
        tuple(positions),
        tuple(sorted({item.label for item in items})),
        tuple(name for name in SPLITS if any(item.split == name for item in items)),
    )


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _sizes(facts: Sequence[Facts]) -> dict[str, Any]:
    """Width and height in pixels, as stored."""
    sizes = sorted({(one.width, one.height) for one in facts}, key=lambda size: size[0] * size[1])
    return {"different": len(sizes), "smallest": sizes[0], "largest": sizes[-1]} if sizes else {"different": 0}


def _named(one: Alike, names: Sequence[str]) -> dict[str, Any]:
    return {
        "paths": [names[index] for index in one.positions],
        "labels": list(one.labels),
        "splits": list(one.splits),
    }
