"""What predicts: a run's saved model or a timm folder with torch, an ONNX file without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from thawline.config import Preprocessing

ONNX_ENDING = ".onnx"


class PixelClassifier(Protocol):
    """Class probabilities of preprocessed pixels."""

    @property
    def folder(self) -> Path:
        """The folder or file of the model."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names in index order."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How a decoded image becomes pixels."""

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities [B, C] float32 of pixels [B, S, S, 3] uint8."""


def is_onnx(model: Path) -> bool:
    """Whether a model is named by an ONNX file, rather than a folder."""
    return model.suffix.lower() == ONNX_ENDING and not model.is_dir()


def open_classifier(model: Path, *, trust_code: bool = False, code: str | None = None) -> PixelClassifier:
    """Open a run folder, a timm folder or an ONNX file.

    Code that a folder names runs only with `trust_code`, or if `code` (`file.py:factory`) is to run in its place.
    Raises `ModelError` or `RunFolderError` if the model cannot be used.
    """
    if is_onnx(model):
        from thawline.prediction.onnx_file import OnnxClassifier

        return OnnxClassifier(model)
    from thawline.model.trust import Trust
    from thawline.runs.classifier import Classifier

    return Classifier(model, Trust(trust_code, code))
