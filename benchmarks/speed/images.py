"""The images of the cells, and how the usual loops read them: decoded again each time an image is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from benchmarks.speed.settings import Settings
from thawline.config import Preprocessing
from thawline.data.sources import read_images
from thawline.data.splits import limit_images


@dataclass(frozen=True)
class Images:
    """Files with their class indices."""

    paths: tuple[Path, ...]
    targets: tuple[int, ...]
    classes: int

    @classmethod
    def read(cls, folder: Path, limit: int | None = None) -> Images:
        """All of a folder, or a stratified draw, shuffled: a loop over them meets the classes mixed."""
        found = limit_images(read_images(folder), limit, seed=0)
        order = np.random.default_rng(0).permutation(len(found.items))
        paths, targets = found.paths, found.targets
        return cls(tuple(paths[i] for i in order), tuple(targets[i] for i in order), len(found.classes))

    @classmethod
    def of_steps(cls, settings: Settings) -> Images:
        """Those of the cells that time steps."""
        return cls.read(settings.data("dtd10"), limit=settings.small(1_000, 100))

    def repeated(self, count: int) -> Images:
        """Exactly `count` images, from the start again where there are fewer."""
        rows = np.resize(np.arange(len(self.paths)), count)
        return Images(tuple(self.paths[i] for i in rows), tuple(self.targets[i] for i in rows), self.classes)


class DecodedEachTime(Dataset[tuple[Tensor, int]]):
    """What torchvision's ImageFolder does: open, convert to RGB, transform."""

    def __init__(self, images: Images, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.images.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.images.targets[index]


def usual_transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    """Resize, crop, to tensor, normalize: torchvision's usual four, set to give the pixels that thawline trains on."""
    size = preprocessing.image_size
    composed: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            transforms.Resize(
                int(size / preprocessing.crop_pct), transforms.InterpolationMode(preprocessing.interpolation)
            ),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    return composed
