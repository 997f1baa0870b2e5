"""Fifteen families of timm in five formats: the largest difference of a probability, and agreement, on eight files.

    python -m benchmarks.exports measure IMAGES [FAMILY ...]
    python -m benchmarks.exports page

`measure` keeps its figures in benchmarks/results/exports.json; `page` writes them into docs/exports.md. Networks are
small and have random weights: what is tested is whether each architecture comes out the same.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from PIL import Image
from torch.nn import functional as F

import thawline
from thawline.config import ExportFormat, Preprocessing
from thawline.data.sources import find_images
from thawline.errors import ThawlineError
from thawline.exports.timm_folder import save_timm_folder

PAGE = Path(__file__).parents[1] / "docs" / "exports.md"
RESULTS = Path(__file__).parent / "results" / "exports.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FILES = 8
LABELS = tuple(f"class {number}" for number in range(10))
FORMATS: Sequence[ExportFormat] = ("onnx", "torch", "openvino")
COLUMNS = {"timm": "timm", "transformers": "transformers", "onnx": "ONNX", "torch": ".pt2", "openvino": "OpenVINO"}
PACKAGES = ("torch", "timm", "transformers", "onnx", "onnxscript", "onnxruntime", "openvino")

TINY_SWIN = {"embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4, "img_size": 64}
FAMILIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ResNet": ("test_resnet", {}),
    "EfficientNet": ("test_efficientnet", {}),
    "MobileNetV2": ("mobilenetv2_050", {}),
    "MobileNetV3": ("mobilenetv3_small_050", {}),
    "RegNet": ("regnetx_002", {}),
    "ByobNet": ("test_byobnet", {}),
    "NFNet": ("test_nfnet", {}),
    "DenseNet": ("densenet121", {}),
    "ConvNeXt": ("test_convnext", {}),
    "ViT": ("test_vit", {"img_size": 64}),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", {"embed_dim": 48, "depth": 2, "img_size": 64}),
    "Swin": ("swin_tiny_patch4_window7_224", TINY_SWIN),
    "CoAtNet": ("test_coatnet", {"img_size": 64}),
    "MobileViT": ("mobilevit_xxs", {}),
    "MambaOut": ("test_mambaout", {}),
}
PREPROCESSING = Preprocessing(64, "bicubic", 0.9, "center", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The same for every network."""


def measure_family(family: str, files: Sequence[Path], folder: Path, columns: Sequence[str] = (*COLUMNS,)) -> Any:
    """For every column the largest difference and the files with the same class, or the error; writes into `folder`."""
    architecture, arguments = FAMILIES[family]
    torch.manual_seed(0)
    module: Any = timm.create_model(architecture, num_classes=len(LABELS), **arguments).eval()
    _spread(module, files)
    save_timm_folder(
        folder / "model",
        module,
        architecture=architecture,
        label_names=LABELS,
        preprocessing=PREPROCESSING,
        model_args=arguments,
        pretrained_cfg=module.pretrained_cfg,
        thawline={},
        card="",
    )
    expected = _probabilities(module, files)
    opened: dict[str, Callable[[], np.ndarray]] = {
        "timm": lambda: _by_timm(folder / "model", files),
        "transformers": lambda: _by_transformers(folder / "model", files),
    }
    cells: dict[str, Any] = {}
    for column in columns:
        try:
            if column in opened:
                cells[column] = _compared(opened[column](), expected)
            else:
                to = cast(ExportFormat, column)
                found = thawline.export(folder / "model", to=to, out=folder / column, images=[*files])
                cells[column] = {
                    "difference": found.largest_difference,
                    "agreeing": found.agreeing,
                    "files": found.images,
                }
        except (ThawlineError, RuntimeError, ValueError) as error:
            cells[column] = {"error": str(error).partition("\n")[0]}
    return cells


def _spread(module: Any, files: Sequence[Path]) -> None:
    """Scale the head, so that the logits of random weights differ from class to class as those of trained ones."""
    heads = module.get_classifier()
    spread = float(_logits(module, files).std())
    with torch.no_grad():
        for head in heads if isinstance(heads, tuple) else (heads,):
            head.weight.mul_(2 / spread)


def _logits(module: Any, files: Sequence[Path]) -> torch.Tensor:
    data: Any = timm.data
    transform = data.create_transform(
        input_size=(3, 64, 64),
        interpolation=PREPROCESSING.interpolation,
        crop_pct=PREPROCESSING.crop_pct,
        mean=PREPROCESSING.mean,
        std=PREPROCESSING.std,
    )
    with torch.no_grad():
        logits: torch.Tensor = module(torch.stack([transform(Image.open(path).convert("RGB")) for path in files]))
    return logits


def _probabilities(module: Any, files: Sequence[Path]) -> np.ndarray:
    return np.asarray(F.softmax(_logits(module, files), dim=1).numpy())


def _by_timm(folder: Path, files: Sequence[Path]) -> np.ndarray:
    module: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data: Any = timm.data
    transform = data.create_transform(**data.resolve_model_data_config(module), is_training=False)
    with torch.no_grad():
        logits = module(torch.stack([transform(Image.open(path).convert("RGB")) for path in files]))
    return np.asarray(F.softmax(logits, dim=1).numpy())


def _by_transformers(folder: Path, files: Sequence[Path]) -> np.ndarray:
    import transformers

    pipeline = transformers.pipeline("image-classification", str(folder), top_k=len(LABELS))
    rows = [{each["label"]: each["score"] for each in pipeline(str(path))} for path in files]
    return np.array([[row[label] for label in LABELS] for row in rows])


def _compared(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    return {
        "difference": float(np.abs(found - expected).max()),
        "agreeing": int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        "files": len(expected),
    }


def measure(images: Path, families: Sequence[str]) -> None:
    """Measure families, all if none is named, and keep the figures beside those of earlier calls."""
    paths = find_images([images])[0]
    files = [paths[number * len(paths) // FILES] for number in range(FILES)]
    for family in families or FAMILIES:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cells = measure_family(family, files, Path(folder))
        print(family, json.dumps(cells), flush=True)
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"families": {}}
        kept["families"][family] = cells
        kept["packages"] = {name: version(name) for name in PACKAGES}
        kept["hardware"] = f"{os.cpu_count()} cores, {platform.machine()}, CPU only"
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def write_page() -> None:
    """Put the table into docs/exports.md, between its markers."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(json.loads(RESULTS.read_text()))}\n{END}{after}", encoding="utf-8")


def table(kept: Mapping[str, Any]) -> str:
    """The figures as markdown, with the errors of what does not convert below."""
    lines = [f"| family | network | {' | '.join(COLUMNS.values())} |", "|---|---|" + "---|" * len(COLUMNS)]
    errors = []
    for family, (architecture, _) in FAMILIES.items():
        cells = kept["families"].get(family, {})
        lines.append(f"| {family} | `{architecture}` | {' | '.join(_cell(cells.get(name)) for name in COLUMNS)} |")
        errors += [
            f"- {family}, {COLUMNS[name]}: {cell['error']}" for name, cell in cells.items() if cell and "error" in cell
        ]
    packages = ", ".join(f"{name} {number}" for name, number in kept["packages"].items())
    return "\n".join([*lines, "", *errors, *([""] if errors else []), f"Measured with {packages}; {kept['hardware']}."])


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "not measured"
    if "error" in cell:
        return "does not convert, see below"
    return f"{cell['difference']:.0e}, {cell['agreeing']} of {cell['files']}"


if __name__ == "__main__":
    if sys.argv[1] == "page":
        write_page()
    else:
        measure(Path(sys.argv[2]), sys.argv[3:])
