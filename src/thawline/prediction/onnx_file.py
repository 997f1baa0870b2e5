"""An ONNX file that classifies: pixels go in, probabilities come out, and it says its classes and preprocessing.

input              uint8 [N, S, S, 3]; normalization and softmax are in the graph
output             float32 [N, C]
metadata_props     `labels`, a JSON list, and the fields of `Preprocessing`: text as it is, all else as JSON
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from thawline.config import Preprocessing
from thawline.errors import MissingExtraError, ModelError
from thawline.memory import raise_if_out_of_memory
from thawline.reading import parse_json
from thawline.telemetry import keep_onnx_runtime_quiet

LABELS = "labels"
_AGAIN = "write it again with `thawline export`"


class OnnxClassifier:
    """A model in ONNX Runtime, on the CPU."""

    def __init__(self, file: Path) -> None:
        """Raises `ModelError` if the file is missing, damaged or of another form, `MissingExtraError` without ONNX."""
        self.folder = file
        if not file.is_file():
            raise ModelError(f"{file} does not exist; give a run folder, a timm folder or an .onnx file.")
        keep_onnx_runtime_quiet()
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise MissingExtraError(f"{file} needs ONNX Runtime; run `pip install 'thawline[onnx]'`.") from None
        try:
            self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class but this one
            raise_if_out_of_memory(error)
            raise ModelError(f"{file} cannot be opened by ONNX Runtime ({_first_line(error)}); {_AGAIN}.") from error
        about: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.classes = _labels(about, file)
        self.preprocessing = _preprocessing(about, file)
        self._input = self._input_name()

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities [B, C] float32 of pixels [B, S, S, 3] uint8."""
        try:
            (found,) = self._session.run(None, {self._input: pixels})
        except Exception as error:  # its errors have no common class but this one
            raise_if_out_of_memory(error)
            raise ModelError(
                f"{self.folder} cannot classify {pixels.shape} pixels ({_first_line(error)}); {_AGAIN}."
            ) from error
        probabilities = np.asarray(found, np.float32)
        if probabilities.shape != (len(pixels), len(self.classes)) or not np.isfinite(probabilities).all():
            raise ModelError(
                f"{self.folder} gives {probabilities.shape} for {len(pixels)} images, NaN or infinite values; {_AGAIN}."
            )
        return probabilities

    def _input_name(self) -> str:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        takes = [(each.type, len(each.shape), each.shape[-1]) for each in inputs]
        if takes != [("tensor(uint8)", 4, 3)] or len(outputs) != 1:
            raise ModelError(f"{self.folder} does not take pixels (uint8 N x H x W x 3) alone; {_AGAIN}.")
        name: str = inputs[0].name
        return name


def _labels(about: Mapping[str, str], file: Path) -> tuple[str, ...]:
    names = _parsed(about, LABELS, file)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{file}: {LABELS} in its metadata must be a list of class names; {_AGAIN}.")
    if len(set(names)) < len(names):
        raise ModelError(f"{file}: {LABELS} in its metadata has a class name more than once; {_AGAIN}.")
    return tuple(names)


def _preprocessing(about: Mapping[str, str], file: Path) -> Preprocessing:
    values: dict[str, Any] = {
        field.name: about.get(field.name) if field.type == "str" else _parsed(about, field.name, file)
        for field in fields(Preprocessing)
        if field.name in about or field.default is MISSING
    }
    try:
        return Preprocessing(**{**values, "mean": _rgb(values["mean"]), "std": _rgb(values["std"])})
    except (TypeError, ValueError) as error:
        why = str(error).removesuffix(".")
        raise ModelError(f"{file}: the preprocessing in its metadata cannot be used ({why}); {_AGAIN}.") from error


def _rgb(values: object) -> tuple[float, float, float]:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError("mean and std must have 3 values")
    red, green, blue = map(float, values)
    return red, green, blue


def _parsed(about: Mapping[str, str], key: str, file: Path) -> object:
    if key not in about:
        raise ModelError(f"{file} has no {key} in its metadata, so it was not written by thawline; {_AGAIN}.")
    try:
        return parse_json(about[key])
    except ValueError as error:
        raise ModelError(f"{file}: {key} in its metadata is not JSON ({error}); {_AGAIN}.") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
