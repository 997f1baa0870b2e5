"""Grad-CAM of images by several sets of weights, drawn side by side in the folder of a run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from thawline.data.walk import Ignored, as_text
from thawline.errors import DataError
from thawline.explanation.overlay import Panel, enlarged, overlay, side_by_side
from thawline.explanation.saliency import find_layer, grad_cam, heat
from thawline.export.escaping import one_line
from thawline.records import write_bytes
from thawline.runs.finished import BATCH, FinishedRun, Pictures, State
from thawline.runs.listed import Listed, by_file

FOLDER = "explain"
_FILE_LETTERS = re.compile(r"[^A-Za-z0-9]+")
_LONGEST = 40
"""Letters of an image's name in the names of its pictures."""


@dataclass(frozen=True)
class View:
    """A network with certain weights: one column of the pictures."""

    title: str
    run: FinishedRun
    states: tuple[State, ...]

    def network(self) -> nn.Module:
        """The run's network with the weights in it."""
        return self.run.put(*self.states)


@dataclass(frozen=True)
class Seen:
    """What a view makes of one image."""

    title: str
    predicted: str
    probability: float
    picture: Image.Image


def look(views: Sequence[View], paths: Sequence[Path], layer: str | None, folder: Path) -> dict[str, Any]:
    """Write the pictures of all images into `folder`/explain; `layer`, `images`, `unreadable` of explain.json.

    The first view is the pretrained one, the last the fine-tuned one: what this predicts is the class that all maps of
    the image are for. Raises `DataError` if no image can be read.
    """
    run = views[-1].run
    pictures = run.pictures(paths)
    rows = [number for number, facts in enumerate(pictures.facts) if facts.error is None]
    if not rows:
        raise DataError(f"{as_text(paths[0])!r} {pictures.facts[0].error}; none of {len(paths)} images can be read.")
    layer = layer or find_layer(views[-1].network(), next(pictures.batches((rows * 2)[:2])))
    known = by_file(run.listed())
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    entries = []
    for row, seen in _seen(views, pictures, rows, layer):
        named = _named(paths[row], known)
        entries.append({**named, **_draw(folder, row, named, pictures.pixels[row], seen)})
    bad = [Ignored(path, facts.error) for path, facts in zip(paths, pictures.facts, strict=True) if facts.error]
    return {
        "layer": layer,
        "images": entries,
        "unreadable": [one.to_dict() for one in bad],
    }


def _seen(
    views: Sequence[View], pictures: Pictures, rows: Sequence[int], layer: str
) -> Iterator[tuple[int, tuple[Seen, ...]]]:
    """Row by row what every view makes of it."""
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        (images,) = pictures.batches(chosen)
        classes = _probabilities(views[-1].network(), images).argmax(dim=1)
        columns = [_column(view, images, classes, layer, pictures.pixels[chosen]) for view in views]
        yield from zip(chosen, zip(*columns, strict=True), strict=True)


def _column(view: View, images: Tensor, classes: Tensor, layer: str, pixels: np.ndarray) -> list[Seen]:
    network = view.network()
    likeliest = _probabilities(network, images).max(dim=1)
    heats = heat(grad_cam(network, images, classes, layer), images.shape[-1]).numpy()
    return [
        Seen(view.title, view.run.classes[index], probability, overlay(one, warmth))
        for index, probability, one, warmth in zip(
            likeliest.indices.tolist(), likeliest.values.tolist(), pixels, heats, strict=True
        )
    ]


@torch.inference_mode()
def _probabilities(network: nn.Module, images: Tensor) -> Tensor:
    return torch.softmax(network(images).float(), dim=1)


def _named(path: Path, known: Mapping[str, Listed]) -> dict[str, Any]:
    """The image as splits.csv names it, with its label, if it is one of the run's own."""
    listed = known.get(os.path.realpath(path))
    return {"path": as_text(Path(listed.name) if listed else path), "true": listed.label if listed else None}


def _draw(folder: Path, row: int, named: Mapping[str, Any], pixels: np.ndarray, seen: Sequence[Seen]) -> dict[str, Any]:
    """Write an image's pictures: each by itself, and all side by side."""
    path = PurePath(named["path"])
    stem = f"{FOLDER}/{row + 1:04d}-{_FILE_LETTERS.sub('-', path.stem).strip('-')[:_LONGEST] or 'image'}"
    before, *others, after = seen
    about = (f"true: {named['true']}",) if named["true"] is not None else ()
    first = Panel(enlarged(pixels), one_line(path.name), tuple(map(one_line, (*about, f"maps: {after.predicted}"))))
    files = {"image": first.picture, "before": before.picture, "after": after.picture}
    files |= {f"beside-{number}": other.picture for number, other in enumerate(others, start=1)}
    files["all"] = side_by_side([first, *map(_panel, seen)])
    names = {name: f"{stem}-{name}.png" for name in files}
    for name, picture in files.items():
        write_bytes(folder / names[name], _png(picture))
    return {
        "predicted_before": before.predicted,
        "predicted": after.predicted,
        "probability_before": before.probability,
        "probability": after.probability,
        **{name: names[name] for name in ("image", "before", "after", "all")},
        "beside": [
            {
                "run": one.title,
                "predicted": one.predicted,
                "probability": one.probability,
                "picture": names[f"beside-{number}"],
            }
            for number, one in enumerate(others, start=1)
        ],
    }


def _panel(seen: Seen) -> Panel:
    return Panel(seen.picture, one_line(seen.title), (f"{seen.probability:.2f} {one_line(seen.predicted)}",))


def _png(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
