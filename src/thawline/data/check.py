"""Audit of a dataset: unreadable files, copies across labels and splits, near-duplicates, small classes, imbalance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from thawline.config import FULL_DEPTH
from thawline.data.groups import copies_of_one_image
from thawline.data.layout import SPLITS, Split
from thawline.data.near_duplicates import near_duplicates
from thawline.data.pixels import found_bit_depth, require_readable
from thawline.data.sources import ImageSet
from thawline.data.survey import Facts, Progress, survey
from thawline.data.transform import too_narrow
from thawline.formatting import counted
from thawline.records import FORMAT_VERSION
from thawline.results import CheckResult, FileGroup, ImageSizes, SkippedFile

IMBALANCE = 10.0
"""Ratio of the largest to the smallest class from which a warning is given."""

USUAL_SIZE = 224
"""Side of the input of most networks, in pixels."""
USUAL_CROP = 0.875
"""Side of the crop over the shorter side of the resized image, of most networks."""

SMALL_CLASS = 10
"""Classes with fewer images than this get a warning: their scores are too noisy."""

_FRAMES = "more than one frame"
_ODD: dict[str, Callable[[Facts], bool]] = {
    "rotated by EXIF": lambda file: file.orientation != 1,
    "16-bit, 32-bit or floating-point": lambda file: file.mode == "F" or file.mode.startswith("I"),
    _FRAMES: lambda file: file.frames > 1,
    "color profile": lambda file: file.icc_profile,
    "transparency": lambda file: file.mode in ("RGBA", "LA", "PA", "La", "RGBa"),
}


@dataclass(frozen=True)
class Copies:
    """Files with the same bytes, or near-duplicates."""

    positions: tuple[int, ...]
    """Positions in `ImageSet.items`."""
    labels: tuple[str, ...]
    """Distinct labels; more than one is a contradiction."""
    splits: tuple[str, ...]
    """Distinct given splits; more than one is a leak."""


@dataclass(frozen=True)
class Check:
    """The findings on one dataset."""

    images: ImageSet
    facts: tuple[Facts, ...]
    duplicates: tuple[Copies, ...]
    """The same bytes."""
    near_duplicates: tuple[Copies, ...]
    """Images that look alike although their bytes differ; exact copies of them are included."""
    image_size: int | None = None
    """Side of the network's input in pixels, for images that were not resized to it yet."""
    crop_pct: float = USUAL_CROP
    refusal: str = ""
    """Why training would refuse these images, although each of them can be used."""

    @property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each item's file; empty if it cannot be opened."""
        return tuple(file.sha256 for file in self.facts)

    @property
    def unreadable(self) -> tuple[int, ...]:
        """Positions of the items that are not readable images."""
        return tuple(index for index, file in enumerate(self.facts) if file.error is not None)

    @property
    def contradictions(self) -> tuple[Copies, ...]:
        """Exact copies under two or more labels."""
        return tuple(copies for copies in self.duplicates if len(copies.labels) > 1)

    @property
    def leaks(self) -> tuple[Copies, ...]:
        """Exact copies in two or more of the given splits."""
        return tuple(copies for copies in self.duplicates if len(copies.splits) > 1)

    @property
    def class_counts(self) -> dict[str, int]:
        """Readable images per class, over all splits."""
        pairs = zip(self.images.items, self.facts, strict=True)
        counts = Counter(item.label for item, file in pairs if file.error is None)
        return {name: counts[name] for name in self.images.classes}

    @property
    def imbalance(self) -> float:
        """Ratio of the largest class to the smallest."""
        counts = self.class_counts.values()
        return max(counts) / max(1, min(counts))

    @property
    def leaking_near_duplicates(self) -> tuple[Copies, ...]:
        """Near-duplicates in two or more of the given splits."""
        return tuple(copies for copies in self.near_duplicates if len(copies.splits) > 1)

    def near_duplicates_across(self, assignment: Sequence[Split | None]) -> tuple[str, ...]:
        """One line if near-duplicates came into different splits when these were drawn; else nothing.

        `assignment` is the split of every item, None where it is left out.
        """
        drawn = [
            copies
            for copies in self.near_duplicates
            if len({assignment[position] for position in copies.positions} - {None}) > 1 >= len(copies.splits)
        ]
        if not drawn:
            return ()
        return (f"{_across_splits(drawn)} (`group_pattern` keeps images that belong together in one split).",)

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
        """Number of images that need more than plain decoding, by kind; `decode.DECODING_RULE` says what is done."""
        return {name: count for name, test in _ODD.items() if (count := sum(map(test, self._readable)))}

    @property
    def _readable(self) -> list[Facts]:
        return [file for file in self.facts if file.error is None]

    def require_readable(self) -> None:
        """Raise `DataError` if there are unreadable images."""
        require_readable(self.images.paths, self.facts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems that the user should look at, one line each, worst first."""
        small = [name for name, count in self.class_counts.items() if count < SMALL_CLASS]
        lines = [
            (self.unreadable, f"{counted(len(self.unreadable), 'image cannot', 'images cannot')} be read."),
            (self.narrow, self._narrow_line()),
            (self.refusal, f"Training would reject these images: {self.refusal}"),
            *self._of_decoding(),
            (self.contradictions, f"{_copied(self.contradictions)} with two or more labels; all copies go to train."),
            (
                self.leaks,
                f"{_copied(self.leaks)} with exact copies in two splits; the copies nearer to train are left out.",
            ),
            (
                self.leaking_groups,
                f"{counted(len(self.leaking_groups), 'group')} with images in two splits: scores will be optimistic.",
            ),
            (self.leaking_near_duplicates, f"{_across_splits(self.leaking_near_duplicates)}."),
            (self.duplicates, f"{_copied(self.duplicates)} stored more than once with identical bytes."),
            (
                small,
                f"{counted(len(small), 'class', 'classes')} with fewer than {SMALL_CLASS} images: "
                f"{', '.join(map(repr, small[:5]))}.",
            ),
            (
                self.imbalance >= IMBALANCE,
                f"The largest class has {self.imbalance:.0f} times as many images as the smallest.",
            ),
        ]
        return (*(line for found, line in lines if found), *self.images.notes)

    def _of_decoding(self) -> Sequence[tuple[object, str]]:
        """What images lose when they are decoded: whether any does, and the line that says so."""
        return (
            (
                self.bit_depth < FULL_DEPTH,
                f"The 16-bit images hold {self.bit_depth}-bit values (at most {self._largest_sample:,} of "
                "65,535): they are decoded as such, unless `bit_depth` says otherwise.",
            ),
            (
                self._stretched,
                f"{counted(self._stretched, 'image')} of 32-bit or floating-point values: each is scaled from its own "
                "minimum to its own maximum, so brightness is not comparable between them.",
            ),
            (
                _FRAMES in self.oddities,
                f"{counted(self.oddities.get(_FRAMES, 0), 'file')} with more than one frame or page: only the first is "
                "used.",
            ),
        )

    @property
    def bit_depth(self) -> int:
        """Bits that the values of the 16-bit images really have."""
        return found_bit_depth(self.facts)

    @property
    def _largest_sample(self) -> int:
        return max((file.largest_sample for file in self.facts), default=0)

    @property
    def _stretched(self) -> int:
        return sum(file.mode in ("I", "F") and file.format != "PPM" for file in self._readable)

    @property
    def narrow(self) -> tuple[int, ...]:
        """Positions of readable images that pass the limit of pixels once their shorter side is that of the network."""
        if self.image_size is None:
            return ()
        shorter = self.image_size / self.crop_pct
        return tuple(index for index, file in enumerate(self.facts) if too_narrow(file.width, file.height, shorter))

    def _narrow_line(self) -> str:
        first = self.images.name(self.images.items[self.narrow[0]]) if self.narrow else ""
        return (
            f"{counted(len(self.narrow), 'image is', 'images are')} too narrow to be resized to {self.image_size} "
            f"pixels (`image_size`), so training would reject them; first: {first!r}."
        )

    def result(self) -> CheckResult:
        """The findings as check.json holds them."""
        names = [self.images.name(item) for item in self.images.items]
        given = Counter(item.split for item in self.images.items)
        return CheckResult(
            format_version=FORMAT_VERSION,
            root=str(self.images.root),
            images=len(names),
            classes=self.class_counts,
            given_splits={name: given[name] for name in SPLITS if given[name]},
            imbalance=self.imbalance,
            warnings=list(self.warnings),
            unreadable=[SkippedFile(path=names[i], reason=str(self.facts[i].error)) for i in self.unreadable],
            duplicates=[_group(copies, names) for copies in self.duplicates],
            lookalikes=[_group(copies, names) for copies in self.near_duplicates],
            leaking_groups=list(self.leaking_groups),
            oddities=self.oddities,
            formats=_counts(file.format for file in self._readable),
            modes=_counts(file.mode for file in self._readable),
            sizes=_sizes(self._readable),
            ignored=[file.result() for file in self.images.ignored],
            skipped=_counts(file.reason for file in self.images.ignored),
        )


def check(
    images: ImageSet,
    *,
    threads: int = 0,
    progress: Progress | None = None,
    facts: Sequence[Facts] | None = None,
    image_size: int | None = None,
    crop_pct: float = USUAL_CROP,
) -> Check:
    """Decode every file in full and compare all of them; `facts`, if known (`PixelStore.facts`), spare the decoding.

    `image_size`: the side of the network's input in pixels, if the images are yet to be resized to it; `crop_pct`: that
    side over the shorter side of the resized image.
    """
    if facts is None:
        facts = [image.facts for image in survey(images.paths, threads=threads, progress=progress)]
    hashes = [file.sha256 for file in facts]
    similar = near_duplicates([file.difference_hash for file in facts])
    return Check(
        images,
        tuple(facts),
        tuple(_copies(images, same) for same in copies_of_one_image(hashes)),
        tuple(_copies(images, same) for same in similar if len({hashes[index] for index in same}) > 1),
        image_size,
        crop_pct,
    )


def _copied(groups: Sequence[Copies]) -> str:
    return f"{counted(len(groups), 'image')} ({_files(groups)} files)"


def _across_splits(groups: Sequence[Copies]) -> str:
    count = counted(len(groups), "group")
    return f"{count} of near-duplicates ({_files(groups)} images) across splits: scores may be too high"


def _files(groups: Sequence[Copies]) -> str:
    return f"{sum(len(group.positions) for group in groups):,}"


def _copies(images: ImageSet, positions: Sequence[int]) -> Copies:
    items = [images.items[index] for index in positions]
    return Copies(
        tuple(positions),
        tuple(sorted({item.label for item in items})),
        tuple(name for name in SPLITS if any(item.split == name for item in items)),
    )


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _sizes(facts: Sequence[Facts]) -> ImageSizes:
    sizes = sorted({(file.width, file.height) for file in facts}, key=lambda size: size[0] * size[1])
    if not sizes:
        return ImageSizes(different=0)
    return ImageSizes(different=len(sizes), smallest=sizes[0], largest=sizes[-1])


def _group(copies: Copies, names: Sequence[str]) -> FileGroup:
    return FileGroup(
        paths=[names[index] for index in copies.positions], labels=list(copies.labels), splits=list(copies.splits)
    )
