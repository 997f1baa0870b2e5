"""The model card: README.md of a saved model, for people and for the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from thawline.config import Preprocessing
from thawline.exports.escaping import markdown

SHOWN_NAMES = 100
"""Class names that the card lists at most; labels.txt has all of them."""

_METRICS = {"accuracy": "accuracy", "macro precision": "precision", "macro recall": "recall", "macro f1": "f1"}
"""Our names of metrics -> those of the Hub."""
_PLAIN = re.compile(r"\w[\w .,:/()-]{0,80}")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class CardBlock:
    """A row of the table of blocks."""

    name: str
    parameters: int
    learning_rate: float | None
    """None = frozen, or a head that was solved."""
    frozen: bool


@dataclass(frozen=True)
class CardMetric:
    """A row of the table of test metrics."""

    name: str
    mean: float
    """Mean over the trainings (seeds)."""
    n: int
    """Number of trainings."""
    standard_error: float | None = None
    """Standard error of the mean over the trainings; None if there was only one."""
    interval95: tuple[float, float] | None = None
    """95 % interval over the test images."""


@dataclass(frozen=True)
class ModelCard:
    """Contents of the card. Any text may be hostile, so all of it is escaped when the card is written."""

    architecture: str
    base_model: str
    """The model as the user named it, without folders: local-dir:mobilenetv2_050."""
    strategy: str
    label_names: Sequence[str]
    blocks: Sequence[CardBlock]
    """All blocks in order of execution."""
    trainable_percent: float
    """Percentage of the parameters that trained; within a block, it may be only some of them."""
    dataset: str
    """The data as the user named it, or its folder's name."""
    split_counts: Mapping[str, int]
    """Split -> number of images."""
    preprocessing: Preprocessing
    decoding: str
    """How a file becomes an RGB image, in a sentence."""
    snippet: str
    """`timm_snippet()`."""
    versions: Mapping[str, str | None]
    """Package -> version; None = not installed."""
    hub_model: str = ""
    """The base model's identifier on the Hub, which the YAML head names; empty = it is not from there."""
    hub_dataset: str = ""
    """The data's identifier on the Hub, which the YAML head lists; empty = it is not from there."""
    license: str | None = None
    """License of the base model, if known."""
    test_metrics: Sequence[CardMetric] = ()
    """Empty without a test split."""
    trained: Sequence[str] = ()
    """How it was trained, besides rates: full sentences."""
    start: str = "the pretrained network"
    """What frozen blocks are identical to."""
    answer: str = ""
    """What the run found, in words."""
    refit: str = ""
    """That the model was refitted, and which model the scores are of; empty = it is the one that was scored."""
    calibration: str = ""
    """Whether and how its probabilities are scaled."""
    member: tuple[int, int] | None = None
    """Which member of how many of an ensemble it is; answer and metrics are then those of the ensemble."""
    warning: str = ""
    """Why freezing may have made no sense."""


def model_card(card: ModelCard) -> str:
    """The card as markdown with the YAML head that the Hub reads."""
    return _TEMPLATES.get_template("model_card.md.jinja").render(
        card=card,
        head=_head(card),
        shown_names=card.label_names[:SHOWN_NAMES],
        hidden_names=len(card.label_names[SHOWN_NAMES:]),
        parameters=sum(block.parameters for block in card.blocks),
        frozen=any(block.frozen for block in card.blocks),
        resize=_resize_in_words(card.preprocessing),
    )


def _head(card: ModelCard) -> str:
    """The YAML head as the Hub reads it; scores stand in it only if they are those of this very model."""
    dataset = _hub_id(card.hub_dataset)
    scored = () if card.member or card.refit else card.test_metrics
    known = [(_METRICS[metric.name], metric) for metric in scored if metric.name in _METRICS]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=dataset or "imagefolder",
            dataset_name=card.dataset if _PLAIN.fullmatch(card.dataset) else "own images",
            dataset_split="test",
            metric_type=kind,
            metric_name=metric.name,
            metric_value=round(metric.mean, 4),
        )
        for kind, metric in known
    ]
    data = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "transformers", "thawline"],
        license=_hub_id(card.license or ""),
        base_model=_hub_id(card.hub_model),
        datasets=[dataset] if dataset else None,
        metrics=list(dict.fromkeys(kind for kind, _ in known)) or None,
        model_name=card.architecture if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _hub_id(text: str) -> str | None:
    # The Hub would refuse anything else.
    return text if _HUB_ID.fullmatch(text) else None


def _resize_in_words(preprocessing: Preprocessing) -> str:
    size = preprocessing.image_size
    target = f"({preprocessing.interpolation}) to {int(size / preprocessing.crop_pct)} pixels"
    crop = f"then the central {size} x {size} pixels are taken"
    if preprocessing.crop_mode == "squash":
        return f"Both sides are resized {target} whatever the proportions, {crop}"
    if preprocessing.crop_mode == "border":
        return f"The longer side is resized {target}, {crop}, padded with the mean color"
    return f"The shorter side is resized {target}, {crop}"


def _escaped(value: object) -> object:
    return value if isinstance(value, Markup) else markdown(str(value))


_TEMPLATES = Environment(
    loader=PackageLoader("thawline.exports", "."),
    undefined=StrictUndefined,
    finalize=_escaped,  # every expression of the template, unless it is marked | safe
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
