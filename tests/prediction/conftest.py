"""A small network as a timm folder, photos of noise, and an ONNX file of a few operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.small_runs import save_model
from thawline.model.load import load_model

CLASSES = ("a", "b", "c", "d")
SIZE = 32


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A timm folder of a small network with random weights."""
    path = tmp_path_factory.mktemp("model") / "timm"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = load_model("test_efficientnet", len(CLASSES), weights="random", image_size=SIZE)
    save_model(path, model, CLASSES)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos in two folders."""
    for number in range(12):
        photo(tmp_path / "photos" / f"{number % 2}" / f"{number:02}.png", number)
    return tmp_path / "photos"


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_onnx(path: Path, metadata: dict[str, Any] | None = None) -> Path:
    """A classifier of the mean color: softmax(mean over pixels / 255 @ weights), from uint8 [N, H, W, 3]."""
    onnx = pytest.importorskip("onnx", reason="onnx is absent: it is in the `dev` extra")
    helper, types = onnx.helper, onnx.TensorProto
    weights = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [4, 4, 4]], np.float32).T
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "scale"], ["colors"]),
        helper.make_node("MatMul", ["colors", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in {"axes": np.array([1, 2]), "scale": np.float32(255), "weights": weights}.items()
    ]
    graph = helper.make_graph(
        nodes,
        "mean color",
        [helper.make_tensor_value_info("pixels", types.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("probabilities", types.FLOAT, ["N", len(CLASSES)])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    about = {
        "labels": list(CLASSES),
        "image_size": SIZE,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "bit_depth": 16,
    }
    found = {**about, **(metadata or {})}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items() if value}
    helper.set_model_props(model, texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
