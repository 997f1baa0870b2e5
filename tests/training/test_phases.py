"""Which blocks really move in which epoch, for strategies whose plans change on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thawline.config import TrainConfig
from thawline.model.blocks import partition
from thawline.model.load import load_model
from thawline.records import EpochRecord
from thawline.strategies.base import variants
from thawline.testing import PlainContext
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import Trainer

EPOCHS = 8
SIZE = 32


@pytest.fixture(scope="module")
def data() -> TrainingData:
    pixels = np.random.default_rng(0).integers(0, 255, (24, SIZE, SIZE, 3), dtype=np.uint8)
    labels = torch.arange(24) % 2
    return TrainingData(pixels, LabelledRows(np.arange(16), labels[:16]), LabelledRows(np.arange(16, 24), labels[16:]))


@pytest.mark.parametrize("spec", ["gradual_last_first", "gradual_first_last", "lp_ft", "auto_rgn", "last_blocks:k=2"])
def test_a_block_moves_in_exactly_the_epochs_in_which_the_plan_trains_it(spec: str, data: TrainingData) -> None:
    model = load_model("test_efficientnet", 2, weights="random", image_size=SIZE)
    blocks = partition(model.module, "stage", SIZE)
    plan = variants(spec)[0].propose(PlainContext(blocks, learning_rate=1e-2, epochs=EPOCHS))
    config = TrainConfig(
        epochs=EPOCHS, batch_size=8, patience=0, warmup_share=0.0, device="cpu", precision="fp32", threads=1
    )
    trainer = Trainer(model, data, config)
    model.restore(0)
    before = {name: tensor.detach().clone() for name, tensor in trainer.network.named_parameters()}
    moved: list[set[str]] = []

    def look(_: EpochRecord) -> None:
        now = {name: tensor.detach().clone() for name, tensor in trainer.network.named_parameters()}
        changed = {name for name, tensor in now.items() if not torch.equal(tensor, before[name])}
        moved.append({block.name for block in blocks if changed & set(block.parameters)})
        before.update(now)

    trainer.train(plan, blocks, seed=0, on_epoch=look)
    assert moved == [set(plan.phase_at(epoch).trained) for epoch in range(EPOCHS)]
