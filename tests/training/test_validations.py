"""A validation follows an epoch only where something depends on it, and changes nothing of the training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.test_pause import CONFIG, data, own_cache, plan_for
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan, rungs
from thawline.training.trainer import Trainer

__all__ = ["own_cache"]
TRAIN, VAL, EPOCHS = 20, 10, 6


@pytest.fixture
def trainer(model: LoadedModel) -> Trainer:
    return Trainer(model, data(), replace(CONFIG, epochs=EPOCHS))


def test_where_the_last_epoch_is_kept_only_rungs_are_validated(trainer: Trainer, blocks: tuple[Block, ...]) -> None:
    trainer.config = replace(trainer.config, patience=1)
    plan = replace(plan_for(blocks, "constant"), kept_epoch="last")
    trained = trainer.train(plan, blocks, seed=3)
    assert len(trained.epochs) == EPOCHS, "it never stops early"
    assert [epoch.epoch + 1 for epoch in trained.epochs if epoch.is_validated] == [*rungs(EPOCHS)] == [2, 6]
    assert all(epoch.train_loss > 0 for epoch in trained.epochs)
    assert trained.best_epoch == EPOCHS - 1
    assert trained.image_passes == EPOCHS * TRAIN + 2 * VAL


def test_where_the_best_epoch_is_kept_every_one_is_validated(trainer: Trainer, blocks: tuple[Block, ...]) -> None:
    trained = trainer.train(plan_for(blocks, "constant"), blocks, seed=3)
    assert all(epoch.is_validated for epoch in trained.epochs)
    assert trained.image_passes == EPOCHS * (TRAIN + VAL)


def test_a_validation_changes_no_weight(
    trainer: Trainer, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(plan_for(blocks, "constant"), kept_epoch="last")
    few = trainer.train(plan, blocks, seed=3)
    monkeypatch.setattr(FineTunePlan, "is_validated", lambda *_: True)
    all_of_them = trainer.train(plan, blocks, seed=3)
    assert all(epoch.is_validated for epoch in all_of_them.epochs)
    assert [epoch.train_loss for epoch in few.epochs] == [epoch.train_loss for epoch in all_of_them.epochs]
    assert few.epochs[-1] == all_of_them.epochs[-1]
    assert all(torch.equal(tensor, all_of_them.state[name]) for name, tensor in few.state.items())
