"""What `thawline explain` found: Grad-CAM before and after fine-tuning, and how each block changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from thawline.report.charts import shorten
from thawline.report.figures import bars
from thawline.report.predictions import Guess, Predictions
from thawline.report.thumbnails import EXAMPLES
from thawline.results import BlockChange, ExplainedImage, Explanation, SourceAccuracy

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
    """Further runs and their Grad-CAM overlays, such as the shares of a depth study."""
    after: str = ""

    @property
    def right(self) -> bool:
        """Whether the prediction is correct."""
        return self.true == self.predicted


@dataclass(frozen=True)
class BlockChanges:
    """What fine-tuning changed, block by block."""

    blocks: Sequence[BlockChange]
    source: SourceAccuracy | None
    weights: Markup
    features: Markup


def examples(
    predictions: Predictions,
    pictures: Mapping[str, str],
    explanation: Explanation | None,
    overlays: Mapping[str, str],
) -> dict[str, list[Example]]:
    """Mistakes and correct predictions with their pictures, and whatever else was explained, by heading."""
    explained = {image.path: image for image in shown_images(explanation)}
    groups = {
        "Mistakes, most confident first": predictions.mistakes(EXAMPLES),
        "Correct, but least confident": predictions.least_confident(EXAMPLES),
    }
    named = {
        title: [
            _example(guess, predictions.classes, pictures, explained.pop(guess.path, None), overlays)
            for guess in guesses
        ]
        for title, guesses in groups.items()
    }
    others = [_other(image, overlays) for image in explained.values()]
    return {title: found for title, found in {**named, "Other images explained": others}.items() if found}


def shown_images(explanation: Explanation | None) -> Sequence[ExplainedImage]:
    """The explained images that the report has room for."""
    return explanation.images[:MAPS] if explanation else ()


def files_of(image: ExplainedImage) -> list[str]:
    """Pictures of an explained image that the report shows, relative to the run folder."""
    names = (image.image, image.before, image.after, *(other.picture for other in image.beside))
    return [name for name in names if name]


def block_changes(explanation: Explanation | None) -> BlockChanges | None:
    """How every block changed; None if the run has not been explained."""
    if explanation is None or explanation.drift is None:
        return None
    blocks = explanation.drift.blocks
    weights = {shorten(block.name): block.weight_change for block in blocks}
    features = {shorten(block.name): block.cka for block in blocks}
    return BlockChanges(
        blocks,
        explanation.drift.source,
        _bars("weight-change", weights, "Relative change of the weights", "Distance from the start over its length."),
        _bars("cka", features, "Similarity of the features (linear CKA)", "1 = as before fine-tuning.", 1.0),
    )


def _bars(
    name: str, values: Mapping[str, float | None], title: str, described: str, longest: float | None = None
) -> Markup:
    known = [(label, value) for label, value in values.items() if value is not None]
    if not known:
        return Markup("")
    return bars(f"changes-{name}", title, described, known, "", longest or max(value for _, value in known))


def _example(
    guess: Guess,
    classes: Sequence[str],
    pictures: Mapping[str, str],
    image: ExplainedImage | None,
    overlays: Mapping[str, str],
) -> Example:
    example = Example(
        guess.path, classes[guess.true], classes[guess.predicted], guess.confidence, pictures.get(guess.path, "")
    )
    return example if image is None else _with_maps(example, image, overlays)


def _other(image: ExplainedImage, overlays: Mapping[str, str]) -> Example:
    picture = overlays.get(image.image or "", "")
    return _with_maps(Example(image.path, image.true or "", image.predicted or "", None, picture), image, overlays)


def _with_maps(example: Example, image: ExplainedImage, overlays: Mapping[str, str]) -> Example:
    beside = [(other.run, overlays.get(other.picture, "")) for other in image.beside]
    return replace(
        example,
        before=overlays.get(image.before or "", ""),
        beside=[(name, picture) for name, picture in beside if picture],
        after=overlays.get(image.after or "", ""),
    )
