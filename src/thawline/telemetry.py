"""ONNX Runtime 1.32 has telemetry to its maker, on by default on Linux, too."""

from __future__ import annotations

import os

ONNX_RUNTIME = "ORT_DISABLE_TELEMETRY"


def keep_onnx_runtime_quiet() -> None:
    """Call before the first import of onnxruntime, which reads the variable then; what the user has set stands."""
    os.environ.setdefault(ONNX_RUNTIME, "1")
