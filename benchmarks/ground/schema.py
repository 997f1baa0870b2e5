"""What the file of a cell holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thawline.records import FORMAT_VERSION
from thawline.results import Environment, Result


@dataclass(frozen=True, kw_only=True)
class Tried(Result):
    """One tuning training."""

    spec: str
    """Strategy with all arguments settled."""
    learning_rate: float
    val_accuracy: float | None
    """None if it failed."""
    val_loss: float | None
    """Mean negative log-likelihood, in nats."""
    error: str | None


@dataclass(frozen=True, kw_only=True)
class CellResult(Result):
    """What a cell's file holds. Accuracies and shares are 0 to 1; the figures of a method that failed are None."""

    format_version: int = FORMAT_VERSION
    backbone: str
    set: str
    split: int
    method: str
    spec: str
    group: str
    image_size: int
    images: Mapping[str, int]
    """Number of images by split: train, val, test."""
    classes: int
    test_accuracy: float | None = None
    val_accuracy: float | None = None
    """Validation accuracy of the final training, whose seed was not used in tuning."""
    val_loss: float | None = None
    """Mean negative log-likelihood of the final training, in nats."""
    right: str | None = None
    """Which test images were right (`records.unpack_bits`), in the order of the manifest's sorted paths."""
    work: float | None = None
    """Tuning and final training, in full fine-tunings; trainings shared with other methods count for each."""
    seconds: float | None = None
    """Wall time of these trainings."""
    trainings: int | None = None
    chosen: str | None = None
    """Strategy with all arguments settled."""
    norm: str | None = None
    """moving, kept; None where nothing with running statistics trains."""
    head_start: str | None = None
    """random or probe."""
    learning_rate: float | None = None
    learning_rates: Mapping[str, float | None] | None = None
    """Highest rate of each block of the plan; None = frozen."""
    trainable_share: float | None = None
    """Share of the parameters that are trained."""
    tried: Sequence[Tried] = ()
    knn: Mapping[str, float | None] | None = None
    """Accuracy of the nearest neighbors in feature space, val and test; of the solved probe only."""
    search: Mapping[str, Any] | None = None
    """Work, trainings, digest, winner and rungs of a search."""
    error: str | None = None
    """Why the method could not be trained."""
    commit: str
    environment: Environment
    load_at_start: float
    """Load average over one minute before the cell began."""
