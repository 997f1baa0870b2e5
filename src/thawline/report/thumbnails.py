"""Small pictures of the images that a report shows, kept in the run folder: the originals may move away."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from thawline.data.decode import decode
from thawline.errors import DataError
from thawline.records import FORMAT_VERSION, read_json, write_json
from thawline.report.predictions import Guess, Predictions

FILE = "thumbnails.json"
SIDE = 96
"""Pixels of the longer side."""
PER_CELL = 50
IN_ALL = 600
EXAMPLES = 12
"""Most confident mistakes, and as many most doubtful hits."""
BYTES = 2_400_000
"""Of all pictures in base64: leaves half of a report's five megabytes."""


def chosen(predictions: Predictions) -> list[Guess]:
    """The images worth showing, the most telling first; at most `PER_CELL` of a cell and `IN_ALL` together."""
    examples = [*predictions.mistakes(EXAMPLES), *predictions.doubtful_hits(EXAMPLES)]
    return list(dict.fromkeys([*examples, *_by_turns(predictions)]))[:IN_ALL]


def write_thumbnails(folder: Path, predictions: Predictions, root: Path) -> None:
    """`thumbnails.json` of a run: pictures of the `chosen` images under `root`.

    Of images that cannot be read the picture stays that was kept before; without one they are left out.
    """
    before = _stored(folder)
    images: dict[str, str] = {}
    size = 0
    for guess in chosen(predictions):
        try:
            picture = _thumbnail(root / guess.path)
        except (DataError, OSError):
            if guess.path not in before:
                continue  # a report without this picture is still a report
            picture = before[guess.path]
        size += len(picture)
        if size > BYTES:
            break
        images[guess.path] = picture
    write_json(folder / FILE, {"format_version": FORMAT_VERSION, "side": SIDE, "images": images})


def read_thumbnails(folder: Path) -> dict[str, str]:
    """Path -> data URI; empty where the run has none."""
    return {name: f"data:image/webp;base64,{picture}" for name, picture in _stored(folder).items()}


def _stored(folder: Path) -> dict[str, str]:
    """Path -> picture in base64."""
    path = folder / FILE
    stored: dict[str, Any] = read_json(path) if path.is_file() else {"images": {}}
    return dict(stored["images"])


def small_picture(path: Path, side: int) -> str:
    """An image file as a data URI, its longer side at most `side` pixels; raises `DataError`."""
    return f"data:image/webp;base64,{_encoded(decode(path), side)}"


def _thumbnail(path: Path) -> str:
    return _encoded(decode(path), SIDE)


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
