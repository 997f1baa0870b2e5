"""What `thawline explain` left in the run folder, where it did: Grad-CAM before and after, and what moved.

    explain.json = {
        "images": [{"path", "true", "predicted", "image", "before", "after", "beside": [{"run", "picture"}]}],
        "drift": {
            "blocks": [{"name", "weight_change", "cka", "norm_drift", "probe_before", "probe_after"}],
            "source": {"accuracy_before", "accuracy_after", "images"} or null
        }
    }

`image`, `before`, `after` and `picture` are files relative to the run folder; `true`, `predicted` and all figures of
blocks may be null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from thawline.errors import DataError
from thawline.report.charts import shorten
from thawline.report.figures import bars
from thawline.report.predictions import Guess, Predictions
from thawline.report.thumbnails import EXAMPLES, small_picture

FILE = "explain.json"
MAP_SIDE = 192
"""Pixels of a Grad-CAM overlay in the report."""
MAPS = 48
"""Images with overlays at most."""


@dataclass(frozen=True)
class Example:
    """One image worth a look."""

    path: str
    true: str
    predicted: str
    confidence: float | None
    picture: str
    """Data URIs; empty if there is none."""
    before: str = ""
    beside: Sequence[tuple[str, str]] = ()
    """Further runs and what they look at, such as the shares of a depth study."""
    after: str = ""

    @property
    def right(self) -> bool:
        """Whether the model got it right."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Moved:
    """What fine-tuning changed, block by block."""

    blocks: Sequence[Mapping[str, Any]]
    source: Mapping[str, Any] | None
    weights: Markup
    features: Markup


def examples(
    predictions: Predictions, pictures: Mapping[str, str], folder: Path, explained: Mapping[str, Any] | None
) -> dict[str, list[Example]]:
    """Mistakes and hits with their pictures, and whatever else was explained, under their headings."""
    maps = _maps(folder, explained)
    groups = {
        "The most confident mistakes": predictions.mistakes(EXAMPLES),
        "The most doubtful hits": predictions.doubtful_hits(EXAMPLES),
    }
    named = {
        title: [_example(one, predictions.classes, pictures, maps.pop(one.path, None)) for one in guesses]
        for title, guesses in groups.items()
    }
    others = [
        Example(
            path,
            str(one["true"] or ""),
            str(one["predicted"] or ""),
            None,
            one["image"],
            one["before"],
            one["beside"],
            one["after"],
        )
        for path, one in maps.items()
    ]
    return {title: found for title, found in {**named, "Other images explained": others}.items() if found}


def moved(explained: Mapping[str, Any] | None) -> Moved | None:
    """The drift of every block; None if the run has not been explained."""
    drift = (explained or {}).get("drift")
    if not drift:
        return None
    blocks = drift["blocks"]
    return Moved(
        blocks,
        drift.get("source"),
        _bars(blocks, "weight_change", "Relative change of the weights", "Distance from the start over its length."),
        _bars(blocks, "cka", "Likeness of the features (linear CKA)", "1 = as before fine-tuning, 0 = unlike.", 1.0),
    )


def _bars(
    blocks: Sequence[Mapping[str, Any]], key: str, title: str, described: str, longest: float | None = None
) -> Markup:
    values = [(shorten(one["name"]), one[key]) for one in blocks if one.get(key) is not None]
    if not values:
        return Markup("")
    return bars(f"moved-{key}", title, described, values, "", longest or max(value for _, value in values))


def _example(
    guess: Guess, classes: Sequence[str], pictures: Mapping[str, str], maps: Mapping[str, Any] | None
) -> Example:
    return Example(
        guess.path,
        classes[guess.true],
        classes[guess.predicted],
        guess.confidence,
        pictures.get(guess.path, ""),
        *((maps["before"], maps["beside"], maps["after"]) if maps else ()),
    )


def _maps(folder: Path, explained: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Path -> its entry with the overlays as data URIs."""
    entries = (explained or {}).get("images", [])[:MAPS]
    return {one["path"]: {**one, **_overlays(folder, one)} for one in entries}


def _overlays(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    others = [(one["run"], _overlay(folder, one["picture"])) for one in entry.get("beside", ())]
    own = {side: _overlay(folder, entry.get(side)) for side in ("image", "before", "after")}
    return {**own, "beside": [(name, picture) for name, picture in others if picture]}


def _overlay(folder: Path, name: str | None) -> str:
    try:
        return small_picture(folder / name, MAP_SIDE) if name else ""
    except (DataError, OSError):
        return ""  # the file is gone; the rest of the report is not
