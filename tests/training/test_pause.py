"""A training that pauses and goes on is the training that did not, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.conftest import SIZE
from thawline.config import CacheConfig, TrainConfig
from thawline.data.augment import Augmenter
from thawline.model.load import LoadedModel
from thawline.plan import Adapter, Block, FineTunePlan, Penalty
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.trainer import TrainedModel, Trainer

CONFIG = TrainConfig(epochs=4, batch_size=8, patience=0, device="cpu", precision="fp32", threads=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAWLINE_CACHE", str(tmp_path))


def data() -> TrainingData:
    pixels = np.random.default_rng(0).integers(0, 255, (30, SIZE, SIZE, 3), dtype=np.uint8)
    labels = (torch.arange(30) % 3 == 0).long()
    pixels[::3, ..., 0] //= 2
    train, val = (LabelledRows(rows, labels[rows]) for rows in (np.arange(20), np.arange(20, 30)))
    return TrainingData(pixels, train, val, Augmenter(30, views=2, seed=0))


def plan_for(blocks: tuple[Block, ...], kind: str) -> FineTunePlan:
    head, some = {blocks[-1].name: 1e-2}, {block.name: 1e-2 for block in blocks[-3:]}
    options: dict[str, Any] = {
        "penalty": {"penalty": Penalty("l2_sp", 1e-1)},
        "adapter": {"adapter": Adapter(2, 1.0)},
        "relative": {"rate_rule": "relative_gradient"},
    }
    if kind == "last":
        return replace(FineTunePlan.constant(blocks, some), kept_epoch="last")
    if kind == "phases":
        return FineTunePlan.phased(blocks, [(2, head), (None, some)], interpolation=(0.0, 0.5, 1.0))
    return FineTunePlan.constant(blocks, some, **options.get(kind, {}))


def in_parts(trainer: Trainer, plan: FineTunePlan, blocks: tuple[Block, ...], *stops: int) -> list[TrainedModel]:
    parts: list[TrainedModel] = []
    for stop in (*stops, None):
        start = parts[-1].paused if parts else None
        parts.append(trainer.train(plan, blocks, seed=3, until=stop, start=start))
        # Others train in between, as in a search.
        trainer.train(plan_for(blocks, "constant"), blocks, seed=9, until=1)
    return parts


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["constant", "last", "penalty", "adapter", "relative", "phases"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_in_parts_as_in_one_go(model: LoadedModel, blocks: tuple[Block, ...], kind: str, optimizer: Any) -> None:
    trainer, plan = Trainer(model, data(), replace(CONFIG, optimizer=optimizer)), plan_for(blocks, kind)
    whole = trainer.train(plan, blocks, seed=3)
    for stops in ((1,), (2, 3)):
        last = in_parts(trainer, plan, blocks, *stops)[-1]
        assert last.epochs == whole.epochs
        assert last.best_epoch == whole.best_epoch
        assert all(torch.equal(tensor, last.state[name]) for name, tensor in whole.state.items())


def test_without_kept_activations_too(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer, plan = Trainer(model, data(), CONFIG, CacheConfig(0, 0)), plan_for(blocks, "constant")
    assert in_parts(trainer, plan, blocks, 2)[-1].epochs == trainer.train(plan, blocks, seed=3).epochs


def test_a_pause_can_be_continued_twice(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    """Going on must not change what was kept."""
    trainer, plan = Trainer(model, data(), CONFIG), plan_for(blocks, "constant")
    paused = trainer.train(plan, blocks, seed=3, until=2).paused
    first, second = (trainer.train(plan, blocks, seed=3, start=paused) for _ in range(2))
    assert first.epochs == second.epochs
    assert all(torch.equal(tensor, second.state[name]) for name, tensor in first.state.items())


def test_the_parts_cost_what_the_whole_does(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer, plan = Trainer(model, data(), CONFIG), plan_for(blocks, "phases")
    whole, parts = trainer.train(plan, blocks, seed=3), in_parts(trainer, plan, blocks, 1, 3)
    assert [part.epochs_run for part in parts] == [1, 2, 1]
    assert sum(part.image_passes for part in parts) == whole.image_passes


def test_a_training_out_of_patience_is_over(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), replace(CONFIG, patience=1))
    plan = FineTunePlan.constant(blocks, {blocks[-1].name: 1e-9})  # nothing improves
    assert trainer.train(plan, blocks, seed=3, until=3).paused is None
