"""Small pictures of the images that a report shows, kept in the run folder: the originals may move away."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from thawline.config import FULL_DEPTH
from thawline.data.decode import decode
from thawline.errors import DataError
from thawline.report.predictions import Guess, Predictions

SIDE = 96
"""Pixels of the longer side."""
PER_CELL = 50
IN_ALL = 600
EXAMPLES = 12
"""Most confident mistakes, and as many least confident correct predictions."""
BYTES = 2_400_000
"""All pictures in base64: leaves half of a report's five megabytes."""


def chosen(predictions: Predictions) -> list[Guess]:
    """The images worth showing, the most telling first; at most `PER_CELL` per cell and `IN_ALL` together."""
    examples = [*predictions.mistakes(EXAMPLES), *predictions.least_confident(EXAMPLES)]
    return list(dict.fromkeys([*examples, *_by_turns(predictions)]))[:IN_ALL]


def thumbnails(
    predictions: Predictions, root: Path, before: Mapping[str, str], bit_depth: int = FULL_DEPTH
) -> dict[str, str]:
    """Pictures in base64 of the `chosen` images under `root`, by path.

    `bit_depth` is that of the run. An image that cannot be read keeps its picture from `before`; without one it is left
    out.
    """
    images: dict[str, str] = {}
    size = 0
    for guess in chosen(predictions):
        try:
            picture = _encoded(decode(root / guess.path, bit_depth), SIDE)
        except (DataError, OSError):
            if guess.path not in before:
                continue  # a report without this picture is still a report
            picture = before[guess.path]
        size += len(picture)
        if size > BYTES:
            break
        images[guess.path] = picture
    return images


def data_uri(picture: str) -> str:
    """A thumbnail in base64 as the source of an HTML image."""
    return f"data:image/webp;base64,{picture}"


def small_picture(path: Path, side: int) -> str:
    """An image file as a data URI, its longer side at most `side` pixels; raises `DataError`."""
    return data_uri(_encoded(decode(path), side))


def _encoded(image: Image.Image, side: int) -> str:
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=70)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _by_turns(predictions: Predictions) -> Iterator[Guess]:
    """Images of the wrong cells, then of the diagonal: one of each cell, then a second of each, ..."""
    for on_diagonal in (False, True):
        cells = [found for (true, said), found in predictions.cells.items() if (true == said) == on_diagonal]
        for turn in range(PER_CELL):
            yield from (found[turn] for found in cells if turn < len(found))
