"""On a CUDA device: the same promises as on a CPU. Run with `pytest -m gpu`; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from thawline.config import CacheConfig, Precision, TrainConfig
from thawline.data.augment import Augmenter
from thawline.model.blocks import partition
from thawline.model.load import load_model
from thawline.plan import FineTunePlan
from thawline.training.device import resolve
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SIZE, IMAGES, TRAIN = 64, 96, 64


@pytest.fixture(autouse=True)
def as_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path))
    resolve(TrainConfig(device="cuda"), torch.nn.Identity(), SIZE, print)  # the kernels that every run gets


def data(augmenter: Augmenter | None = None) -> TrainingData:
    pixels = np.random.default_rng(0).integers(0, 255, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    labels = torch.arange(IMAGES) % 2
    train, val = (LabelledRows(rows, labels[rows]) for rows in (np.arange(TRAIN), np.arange(TRAIN, IMAGES)))
    return TrainingData(pixels, train, val, augmenter)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "resnet50"])
def test_kept_activations_change_no_decision_and_in_fp32_no_bit(name: str, precision: Precision) -> None:
    model = load_model(name, 2, weights="random", image_size=SIZE)
    blocks = partition(model.module, "stage", SIZE)
    config = TrainConfig(epochs=3, patience=0, device="cuda", precision=precision)
    plan = FineTunePlan.constant(blocks, {block.name: 1e-3 for block in blocks[-2:]})
    images = data(Augmenter(IMAGES, views=2, seed=0))
    plain = Trainer(model, images, config, CacheConfig(0, 0)).train(plan, blocks, seed=0)
    cached = Trainer(model, images, config).train(plan, blocks, seed=0)
    assert cached.best_epoch == plain.best_epoch
    if precision == "fp32":
        assert cached.epochs == plain.epochs
        assert all(torch.equal(tensor, cached.state[key]) for key, tensor in plain.state.items())


def test_pixels_live_on_the_device_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("test_resnet", 2, weights="random", image_size=SIZE)
    trainer = Trainer(model, data(), TrainConfig(device="cuda", precision="fp32"))
    assert trainer.images._resident is not None
    on_device = trainer.images.batch(np.arange(8), None)
    trainer.images._resident = None
    assert torch.equal(trainer.images.batch(np.arange(8), None), on_device)


def test_a_batch_that_does_not_fit_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocator is told that it has little: real out-of-memory errors, not pretended ones."""
    model = load_model("resnet50", 2, weights="random", image_size=SIZE)
    blocks = partition(model.module, "stage", SIZE)
    config = TrainConfig(epochs=1, batch_size=64, device="cuda", precision="fp32")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.2e9 / total))
    try:
        trainer = Trainer(model, data(), config)
        trainer.train(FineTunePlan.constant(blocks, {block.name: 1e-4 for block in blocks}), blocks, seed=0)
        assert trainer.micro_batch < 64
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
