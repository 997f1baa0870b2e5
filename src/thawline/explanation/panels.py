"""Grad-CAM of images under several sets of weights, drawn side by side into the folder of an explanation."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePath

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from thawline.data.walk import as_text
from thawline.errors import DataError, ModelError
from thawline.explanation.overlay import Panel, enlarged, overlay, side_by_side
from thawline.explanation.saliency import find_layer, grad_cam, heat
from thawline.exports.escaping import one_line
from thawline.records import write_bytes
from thawline.results import ExplainedImage, OtherMap, SkippedFile
from thawline.runs.files import EXPLANATION_FOLDER
from thawline.runs.finished import BATCH, DecodedImages, FinishedRun, State
from thawline.runs.listed import Listed, by_file

_FILE_LETTERS = re.compile(r"[^A-Za-z0-9]+")
_LONGEST = 40
"""Letters of an image's name in the names of its files."""


@dataclass(frozen=True)
class View:
    """A network with certain weights: one column of the panels."""

    title: str
    run: FinishedRun
    states: tuple[State, ...]

    def network(self) -> nn.Module:
        """The run's network with the weights in it."""
        return self.run.put(*self.states)


@dataclass(frozen=True)
class Seen:
    """The prediction and the map of a view for one image."""

    title: str
    predicted: str | None
    """None = the head was fitted to this very image."""
    probability: float | None
    overlay: Image.Image


@dataclass(frozen=True)
class Maps:
    """What was drawn."""

    layer: str
    """The module whose output Grad-CAM weighs."""
    images: Sequence[ExplainedImage]
    unreadable: Sequence[SkippedFile]


def draw_maps(
    views: Sequence[View], paths: Sequence[Path], layer: str | None, folder: Path, fitted: Collection[bytes] = ()
) -> Maps:
    """Draw the Grad-CAM maps of all images into `folder`; `layer` None = found.

    The first view is the pretrained one, the last the fine-tuned one; all maps of an image are for the class that the
    last one predicts. `fitted`: digests of images that the head of the first view was fitted to, so that its prediction
    for them says nothing and is left out. Raises `DataError` if no image can be read.
    """
    run = views[-1].run
    images = run.decode(paths)
    rows = [row for row, facts in enumerate(images.facts) if facts.error is None]
    if not rows:
        raise DataError(f"{as_text(paths[0])!r} {images.facts[0].error}; none of {len(paths)} images can be read.")
    layer = layer or find_layer(views[-1].network(), next(images.batches((rows * 2)[:2])))
    known = by_file(run.listed())
    explained = []
    for row, (before, *others) in _seen(views, images, rows, layer):
        if images.digest(row) in fitted:
            before = replace(before, predicted=None, probability=None)
        listed = known.get(os.path.realpath(paths[row]))
        explained.append(_draw(folder, row, paths[row], listed, images.pixels[row], (before, *others)))
    unreadable = [
        SkippedFile(path=as_text(path), reason=facts.error)
        for path, facts in zip(paths, images.facts, strict=True)
        if facts.error
    ]
    return Maps(layer, explained, unreadable)


def _seen(
    views: Sequence[View], images: DecodedImages, rows: Sequence[int], layer: str
) -> Iterator[tuple[int, tuple[Seen, ...]]]:
    """Every row with what each view makes of it."""
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        (batch,) = images.batches(chosen)
        classes = _probabilities(views[-1].network(), batch).argmax(dim=1)
        columns = [_column(view, batch, classes, layer, images.pixels[chosen]) for view in views]
        yield from zip(chosen, zip(*columns, strict=True), strict=True)


def _column(view: View, images: Tensor, classes: Tensor, layer: str, pixels: np.ndarray) -> list[Seen]:
    network = view.network()
    likeliest = _probabilities(network, images).max(dim=1)
    heats = heat(grad_cam(network, images, classes, layer), images.shape[-1]).numpy()
    return [
        Seen(view.title, view.run.classes[index], probability, overlay(image, warmth))
        for index, probability, image, warmth in zip(
            likeliest.indices.tolist(), likeliest.values.tolist(), pixels, heats, strict=True
        )
    ]


@torch.inference_mode()
def _probabilities(network: nn.Module, images: Tensor) -> Tensor:
    logits = network(images).float()
    if not logits.isfinite().all():
        raise ModelError("the network gives NaN or infinite values for the images; its weights are damaged.")
    return torch.softmax(logits, dim=1)


def _draw(
    folder: Path, row: int, path: Path, listed: Listed | None, pixels: np.ndarray, seen: Sequence[Seen]
) -> ExplainedImage:
    """Write the panels of an image, each by itself and all side by side."""
    name = as_text(Path(listed.name) if listed else path)
    before, *others, after = seen
    about = (*([f"true: {listed.label}"] if listed else []), f"maps: {after.predicted}")
    first = Panel(enlarged(pixels), one_line(PurePath(name).name), tuple(map(one_line, about)))
    files = {"image": first.image, "before": before.overlay, "after": after.overlay}
    files |= {f"beside-{number}": other.overlay for number, other in enumerate(others, start=1)}
    files["all"] = side_by_side([first, *map(_panel, seen)])
    letters = _FILE_LETTERS.sub("-", PurePath(name).stem).strip("-")[:_LONGEST]
    places = _write(folder, f"{row + 1:04d}-{letters or 'image'}", files)
    return ExplainedImage(
        path=name,
        true=listed.label if listed else None,
        predicted_before=before.predicted,
        predicted=after.predicted,
        probability_before=before.probability,
        probability=after.probability,
        image=places["image"],
        before=places["before"],
        after=places["after"],
        all=places["all"],
        beside=[
            OtherMap(
                run=other.title,
                predicted=other.predicted or "",
                probability=other.probability,
                picture=places[f"beside-{number}"],
            )
            for number, other in enumerate(others, start=1)
        ],
    )


def _write(folder: Path, stem: str, files: Mapping[str, Image.Image]) -> dict[str, str]:
    """The files as PNG; returns their names relative to the run."""
    names = {name: f"{stem}-{name}.png" for name in files}
    for name, image in files.items():
        write_bytes(folder / names[name], _png(image))
    return {name: f"{EXPLANATION_FOLDER}/{file}" for name, file in names.items()}


def _panel(seen: Seen) -> Panel:
    said = "head fitted to this image"
    if seen.predicted is not None:
        said = f"{seen.probability:.2f} {one_line(seen.predicted)}"
    return Panel(seen.overlay, one_line(seen.title), (said,))


def _png(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
