"""Eight raw image files, networks with random weights and statistics, and the shortest way to save and compare one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from thawline.config import Preprocessing
from thawline.exports.timm_folder import save_timm_folder

# Unlike timm's default in every field, so that a lost one shows.
PREPROCESSING = Preprocessing(64, "bilinear", 0.9, "center", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
LABELS = ("cat", "dog", "owl")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # On a busy machine the threads of such tiny networks wait for each other a hundred times as long as they compute.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def labels() -> tuple[str, ...]:
    """Class names of every network in these tests, in index order."""
    return LABELS


@pytest.fixture
def preprocessing() -> Preprocessing:
    """Preprocessing of every network in these tests, but for its size."""
    return PREPROCESSING


@pytest.fixture(scope="session")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three JPEG and three PNG files in RGB and two grayscale PNG files, of different sizes and proportions."""
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    paths = []
    for number, name in enumerate(["0.jpg", "1.jpg", "2.jpg", "3.png", "4.png", "5.png", "gray0.png", "gray1.png"]):
        coarse = draw.integers(0, 256, (6, 5) if name.startswith("gray") else (6, 5, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((90 + 17 * number, 140 - 9 * number), Image.Resampling.BICUBIC)
        paths.append(folder / name)
        image.save(paths[-1])
    return paths


@pytest.fixture
def make() -> Callable[..., Any]:
    """Build a timm network whose every saved tensor is random, so that a lost one shows."""

    def build(architecture: str, **arguments: Any) -> Any:
        module = timm.create_model(architecture, **{"num_classes": len(LABELS), **arguments})
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    shift = 0.05 if tensor.ndim == 1 else 0.005  # larger weights blow deep nets up
                    tensor.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(shift * torch.rand_like(tensor))
        return module.eval()

    return build


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Save a module as RUN/model; `changes` replace arguments of `save_timm_folder`."""

    def write(module: Any, architecture: str, image_size: int = 64, **changes: Any) -> Path:
        folder: Path = changes.pop("folder", tmp_path / "RUN" / "model")
        arguments: Mapping[str, Any] = {
            "architecture": architecture,
            "label_names": LABELS,
            "preprocessing": dataclasses.replace(PREPROCESSING, image_size=image_size),
            "model_args": {},
            "pretrained_cfg": getattr(module, "pretrained_cfg", {}),
            "thawline": {"strategy": "full"},
            "card": "# A card\n",
            **changes,
        }
        save_timm_folder(folder, module, **arguments)
        return folder

    return write


@pytest.fixture
def logits(image_files: list[Path]) -> Callable[..., torch.Tensor]:
    """Logits `[B, classes]` of raw files by timm's own evaluation transform; `data_config` None = `PREPROCESSING`."""
    timm_data: Any = timm.data

    def compute(
        module: Any, image_size: int = 64, *, data_config: Any = None, files: list[Path] = image_files
    ) -> torch.Tensor:
        ours = {"input_size": (3, image_size, image_size), **dataclasses.asdict(PREPROCESSING)}
        del ours["bit_depth"]  # timm knows no such setting
        del ours["image_size"]
        transform = timm_data.create_transform(**(data_config or ours))
        images = torch.stack([transform(Image.open(path).convert("RGB")) for path in files])
        with torch.no_grad():
            output: torch.Tensor = module(images)
        return output

    return compute


@pytest.fixture
def reopened() -> Callable[[Path], tuple[Any, dict[str, Any]]]:
    """The model of a timm folder and its preprocessing, by timm alone."""
    timm_data: Any = timm.data

    def open_folder(folder: Path) -> tuple[Any, dict[str, Any]]:
        module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        return module, timm_data.resolve_model_data_config(module)

    return open_folder


@pytest.fixture
def assert_same(reopened: Callable[..., Any], logits: Callable[..., torch.Tensor]) -> Callable[..., None]:
    """Fail unless timm's model of `folder` gives the module's logits (1e-4) and class names."""

    def check(module: Any, folder: Path, image_size: int = 64) -> None:
        expected = logits(module, image_size)
        assert expected.std(dim=0).min() > 1e-3, "the images must give different logits, or the test shows nothing"
        opened, data_config = reopened(folder)
        torch.testing.assert_close(logits(opened, data_config=data_config), expected, atol=1e-4, rtol=0)
        assert list(opened.pretrained_cfg["label_names"]) == list(LABELS)

    return check
