"""Writers of the formats that other runtimes open; every one of them takes a `FromPixels`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thawline.config import ExportFormat
from thawline.errors import MissingExtraError, RunError
from thawline.exports.graph import INPUT, OUTPUT, FromPixels
from thawline.telemetry import keep_onnx_runtime_quiet

OPSET = 18
"""Operator set of ONNX files: the lowest that PyTorch's exporter writes, so the most runtimes read it."""

ONNX_FILE, TORCH_FILE, OPENVINO_FILE = "model.onnx", "model.pt2", "model.xml"
MODEL_FILES: Mapping[ExportFormat, tuple[str, ...]] = {
    "onnx": (ONNX_FILE,),
    "torch": (TORCH_FILE,),
    "openvino": (OPENVINO_FILE, "model.bin"),
}
"""The files of a model, the one to open first."""


def require_extra(to: ExportFormat) -> None:
    """Raise `MissingExtraError` unless what writes and reads the format is installed."""
    keep_onnx_runtime_quiet()  # for the fresh process that verifies, too
    try:
        if to in ("onnx", "openvino"):
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        if to == "onnx":
            import onnxruntime  # noqa: F401
        if to == "openvino":
            import openvino  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the format {to} needs the package {error.name}; install it with `pip install 'thawline[{to}]'`."
        ) from error


def write_program(to: ExportFormat, folder: Path, module: FromPixels, size: int, metadata: Mapping[str, str]) -> None:
    """Write the module for images of `size` pixels; raises `RunError` if PyTorch or the format cannot express it."""
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # a batch of 1 would be taken for a constant
    with _converting(to), torch.no_grad():
        _WRITERS[to](folder, module, example, metadata)


def _write_onnx(folder: Path, module: FromPixels, example: Tensor, metadata: Mapping[str, str]) -> None:
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamic_shapes=_any_batch(),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    program.model.metadata_props.update(metadata)
    for node in program.model.graph:
        node.metadata_props.clear()  # where in whose source files each node comes from: paths of this machine
    program.save(str(folder / ONNX_FILE), external_data=False)


def _write_torch(folder: Path, module: FromPixels, example: Tensor, metadata: Mapping[str, str]) -> None:
    program = torch.export.export(module, (example,), dynamic_shapes=_any_batch())
    program.example_inputs = None  # else the archive holds them as a pickle
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    torch.export.save(program, folder / TORCH_FILE, extra_files=dict(metadata))


def _write_openvino(folder: Path, module: FromPixels, example: Tensor, metadata: Mapping[str, str]) -> None:
    import openvino

    _write_onnx(folder, module, example, metadata)
    try:
        model = openvino.convert_model(str(folder / ONNX_FILE))
        for name, value in metadata.items():
            model.set_rt_info(value, ["thawline", name])
        openvino.save_model(model, str(folder / OPENVINO_FILE), compress_to_fp16=False)
    finally:
        (folder / ONNX_FILE).unlink(missing_ok=True)


_WRITERS: Mapping[ExportFormat, Callable[[Path, FromPixels, Tensor, Mapping[str, str]], None]] = {
    "onnx": _write_onnx,
    "torch": _write_torch,
    "openvino": _write_openvino,
}


def _any_batch() -> dict[str, Any]:  # torch's own type is private
    return {"images": {0: torch.export.Dim("batch")}}


@contextmanager
def _converting(to: ExportFormat) -> Iterator[None]:
    """Keep the exporters' chatter off the screen, and turn what they raise into one line."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        first = next((line for line in str(cause).splitlines() if line.strip()), "")
        raise RunError(f"the network cannot be written as {to} ({type(cause).__name__}: {first.strip()}).") from error
    finally:
        logging.disable(logging.NOTSET)
