"""The lines that the export gives for Pillow and NumPy make the pixels that the network was trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from thawline.config import Preprocessing
from thawline.data.decode import decode
from thawline.data.transform import eval_transform
from thawline.exports.example import example, pixel_lines

SIZES = [(90, 140), (157, 77), (64, 64), (65, 64), (31, 200), (71, 71)]


def pixels_by_the_lines(preprocessing: Preprocessing, path: Path) -> np.ndarray:
    scope: dict[str, Any] = {"SETTINGS": json.loads(json.dumps(dataclasses.asdict(preprocessing)))}
    exec(f"import numpy as np\nfrom PIL import Image, ImageOps\n{pixel_lines(preprocessing)}", scope)
    found: np.ndarray = scope["pixels"](path)
    return found


def pixels_of_training(preprocessing: Preprocessing, path: Path) -> np.ndarray:
    return np.asarray(eval_transform(preprocessing)(decode(path, preprocessing.bit_depth)))


def saved(folder: Path, mode: str, size: Sequence[int]) -> Path:
    """Random pixels; RGB is a JPEG that has to be turned."""
    draw = np.random.default_rng(size[0])
    if mode == "I;16":
        image = Image.fromarray(draw.integers(0, 4096, (size[1], size[0]), dtype=np.uint16))
    else:
        channels = {"RGB": 3, "RGBA": 4, "LA": 2, "L": 1}[mode]
        values = draw.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
        image = Image.fromarray(values[..., 0] if channels == 1 else values, mode if channels == 2 else None)
    path = folder / f"{mode[0]}{size[0]}.{'jpg' if mode == 'RGB' else 'png'}"
    exif = Image.Exif()
    exif[0x0112] = 6
    if mode == "RGB":
        image.save(path, exif=exif)
    else:
        image.save(path)
    return path


@pytest.mark.filterwarnings("ignore:'mode' parameter")
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "I;16"])
def test_the_lines_give_the_pixels_of_training(tmp_path: Path, mode: str, crop_mode: str) -> None:
    depth = 12 if mode == "I;16" else 16
    for crop_pct in (0.875, 1.0):
        preprocessing = Preprocessing(64, "bicubic", crop_pct, crop_mode, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), depth)
        for size in SIZES:
            path = saved(tmp_path, mode, size)
            found = pixels_by_the_lines(preprocessing, path)
            np.testing.assert_array_equal(found, pixels_of_training(preprocessing, path), err_msg=f"{size} {crop_pct}")


@pytest.mark.parametrize("to", ["onnx", "torch", "openvino"])
def test_the_example_imports_neither_thawline_nor_timm(to: Any, preprocessing: Preprocessing) -> None:
    text = example(to, preprocessing)
    compile(text, "classify.py", "exec")
    assert "thawline" not in text
    assert "timm" not in text
    assert ("import torch" in text) == (to == "torch")
    # ONNX Runtime reads the variable as it is imported.
    assert (to == "onnx") == ('setdefault("ORT_DISABLE_TELEMETRY", "1")' in text.partition("import onnxruntime")[0])
