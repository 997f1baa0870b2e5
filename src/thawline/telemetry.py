"""Libraries with telemetry to their makers, on by default: ONNX Runtime 1.32, also on Linux, and Ray 2.60."""

from __future__ import annotations

import os

ONNX_RUNTIME = "ORT_DISABLE_TELEMETRY"
RAY = "RAY_USAGE_STATS_ENABLED"


def keep_onnx_runtime_quiet() -> None:
    """Call before the first import of onnxruntime, which reads the variable then; what the user has set stands."""
    os.environ.setdefault(ONNX_RUNTIME, "1")


def keep_ray_quiet() -> None:
    """Call before the first import of ray, which passes the variable on to all processes of a cluster that it makes."""
    os.environ.setdefault(RAY, "0")
