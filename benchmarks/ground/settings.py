"""Where cells are, and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ground.methods import Method
from benchmarks.ground.splits import Sizes


@dataclass(frozen=True)
class Place:
    """A split of a data set as one network sees it; its methods share a run folder, one process at a time."""

    backbone: str
    data: str
    split: int
    image_size: int

    @property
    def path(self) -> Path:
        """Path of its folder, relative to those of runs and results."""
        return Path(self.backbone, self.data, str(self.split))


@dataclass(frozen=True)
class Settings:
    """What all cells share."""

    shared: Path
    """Folder with data/ and weights/."""
    runs: Path
    """Folder of manifests, run folders and locks."""
    results: Path
    sizes: Sizes = field(default_factory=Sizes)
    epochs: int = 12

    def cell(self, place: Place, method: Method) -> Path:
        """The file of a cell."""
        return self.results / place.path / method.file_name

    def manifest(self, place: Place) -> Path:
        """The table of the images that are drawn at a place."""
        return self.runs / place.path.with_suffix(".csv")

    def lock(self, place: Place) -> Path:
        """Held by the process that works at a place."""
        return self.runs / place.path.with_suffix(".lock")
