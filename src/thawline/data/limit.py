"""A smaller data set of the same kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.model_selection import train_test_split

from thawline.data.sources import ImageSet
from thawline.errors import DataError


def limit_images(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """A seeded draw of `limit` images, stratified by class and given split; all of them where there are no more.

    Raises `DataError` if the limit is too low to keep every class in every split.
    """
    if limit is None or limit >= len(images.items):
        return images
    strata = [f"{item.split}/{item.label}" for item in images.items]
    if limit < len(set(strata)) or len(images.items) - limit < len(set(strata)):
        raise DataError(
            f"--limit {limit} cannot keep the {len(images.classes)} classes of {images.root.name!r} in proportion; "
            f"choose {len(set(strata))} to {len(images.items) - len(set(strata))} images, or all."
        )
    kept, _ = train_test_split(np.arange(len(strata)), train_size=limit, stratify=strata, random_state=seed)
    return replace(images, items=tuple(images.items[index] for index in sorted(kept)))
