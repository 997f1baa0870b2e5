"""An ONNX file in 8-bit integers: static QDQ quantisation by ONNX Runtime, weights per channel."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thawline.exports.graph import INPUT
from thawline.telemetry import keep_onnx_runtime_quiet

CALIBRATION_IMAGES = 256
"""Training images that ranges of activations are taken from, at most."""


def quantize(source: Path, target: Path, batches: Iterator[np.ndarray]) -> None:
    """Write `target` from the fp32 file `source`; `batches` of images [B, S, S, 3] uint8 set the activations' ranges.

    Convolutions and matrix products are in int8; normalization and softmax stay in fp32.
    """
    keep_onnx_runtime_quiet()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: batch}

    prepared = target.with_suffix(".prepared.onnx")
    options: dict[str, Any] = {"ActivationSymmetric": False, "WeightSymmetric": True}
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(target),
                Batches(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                extra_options=options,
            )
    finally:
        logging.disable(logging.NOTSET)
        prepared.unlink(missing_ok=True)


def predicted(path: Path, batches: Iterator[np.ndarray]) -> np.ndarray:
    """The likeliest class of every image, [n], by an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: batch})[0].argmax(axis=1) for batch in batches])
