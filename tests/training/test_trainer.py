"""A training on random pixels: reproducible, best weights kept, frozen blocks verified, divergence reported."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.training.conftest import SIZE
from thawline.config import TrainConfig
from thawline.data.augment import Augmenter
from thawline.errors import FrozenBlockMovedError, NonFiniteLossError, TooLittleMemoryError
from thawline.model.apply import AppliedPlan
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan
from thawline.records import EpochRecord
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.measure import bytes_of_a_step, step_cost
from thawline.training.trainer import Trainer

NOBODY_RIGHT = torch.zeros(8, dtype=torch.bool)
CONFIG = TrainConfig(epochs=3, batch_size=8, patience=0, device="cpu", precision="fp32", threads=1)


def data(augmenter: Augmenter | None = None, *, images: int = 30, train: int = 20) -> TrainingData:
    """Noise whose classes differ in one channel; the first images are those of the training split."""
    pixels = np.random.default_rng(0).integers(0, 255, (images, SIZE, SIZE, 3), dtype=np.uint8)
    labels = (torch.arange(images) % 3 == 0).long()
    pixels[::3, ..., 0] //= 2
    return TrainingData(
        pixels,
        LabelledRows(np.arange(train), labels[:train]),
        LabelledRows(np.arange(train, images), labels[train:]),
        augmenter,
    )


def plan_for(blocks: tuple[Block, ...], *, trained: int, rate: float = 1e-2) -> FineTunePlan:
    return FineTunePlan.constant(blocks, {block.name: rate for block in blocks[-trained:]})


def weights(model: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    trainer = Trainer(model, data(Augmenter(30, views=2, seed=0)), CONFIG)
    plan = plan_for(blocks, trained=len(blocks))
    found: list[dict[str, torch.Tensor]] = []
    for seed in (5, 6, 5):
        torch.manual_seed(len(found))  # the global generator must not matter
        trainer.train(plan, blocks, seed=seed)
        found.append(weights(model))
    assert equal(found[0], found[2])
    assert not equal(found[0], found[1])


def test_frozen_blocks_are_bit_identical_and_trained_ones_are_not(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    Trainer(model, data(), CONFIG).train(plan_for(blocks, trained=2), blocks, seed=0)
    state = weights(model)
    for block in blocks[:-1]:
        same = all(torch.equal(state[name], model.pristine()[name]) for name in (*block.parameters, *block.buffers))
        assert same == (block in blocks[:-2])


def test_a_frozen_block_that_moved_ends_the_run(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    plan = plan_for(blocks, trained=1)
    trainer.train(plan, blocks, seed=0)
    with torch.no_grad():
        next(model.module.parameters()).add_(1e-3)
    with pytest.raises(FrozenBlockMovedError, match="bug in thawline"):
        trainer.check_frozen(plan, blocks)


def test_the_best_epoch_is_restored(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(model, data(), CONFIG)
    accuracies = iter([0.5, 0.9, 0.9])
    losses = iter([1.0, 0.5, 0.6])
    kept: list[dict[str, torch.Tensor]] = []

    def validate(epoch: int, train_loss: float) -> tuple[EpochRecord, torch.Tensor]:
        kept.append(weights(model))
        return EpochRecord(epoch, train_loss, next(losses), 0.0, next(accuracies)), NOBODY_RIGHT

    monkeypatch.setattr(trainer, "_validate", validate)
    trained = trainer.train(plan_for(blocks, trained=3), blocks, seed=0)
    assert trained.best_epoch == 1
    assert equal(weights(model), kept[1])


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (2, 4), (9, 6)])
def test_early_stopping(
    patience: int, epochs: int, model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(model, data(), replace(CONFIG, epochs=6, patience=patience))
    scores = iter([0.1, 0.5, 0.4, 0.4, 0.3, 0.2])
    monkeypatch.setattr(
        trainer, "_validate", lambda epoch, loss: (EpochRecord(epoch, loss, 1.0, 0.0, next(scores)), NOBODY_RIGHT)
    )
    assert len(trainer.train(plan_for(blocks, trained=1), blocks, seed=0).epochs) == epochs


def test_a_diverging_loss_says_what_to_do(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), replace(CONFIG, optimizer="sgd"))
    with pytest.raises(NonFiniteLossError, match="lower the learning rate"):
        trainer.train(plan_for(blocks, trained=len(blocks), rate=1e30), blocks, seed=0)


def test_stored_weights_give_the_same_probabilities(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    trained = trainer.train(plan_for(blocks, trained=2), blocks, seed=3)
    rows = np.arange(30)
    expected = trainer.probabilities(rows)
    trainer.train(plan_for(blocks, trained=len(blocks)), blocks, seed=0)
    trainer.load(trained.state, seed=3)
    assert torch.equal(trainer.probabilities(rows), expected)


def test_timing_a_step_leaves_no_trace(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    plan = plan_for(blocks, trained=len(blocks))
    trainer.train(plan, blocks, seed=0)
    expected = weights(model)
    assert step_cost(trainer, plan, blocks).seconds_per_image > 0
    trainer.train(plan, blocks, seed=0)
    assert equal(weights(model), expected)


def test_validation_images_are_never_augmented(model: LoadedModel) -> None:
    rows = np.arange(20, 30)
    plain = Trainer(model, data(), CONFIG)
    augmented = Trainer(model, data(Augmenter(30, views=2, seed=0)), CONFIG)
    model.restore(0)
    assert torch.equal(plain.probabilities(rows), augmented.probabilities(rows))
    assert not torch.equal(
        plain.images.batch(rows, plain.images.view(0)), augmented.images.batch(rows, augmented.images.view(0))
    )


@pytest.mark.parametrize(
    "change",
    [
        {"label_smoothing": 0.1},
        {"balance": "loss"},
        {"balance": "sampler"},
        {"clip_norm": 0.01},
        {"precision": "bf16"},
        {"optimizer": "rmsprop"},
    ],
)
def test_every_option_changes_the_training_and_trains(
    change: dict[str, object], model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    train = partial(Trainer.train, plan=plan_for(blocks, trained=2, rate=2e-3), blocks=blocks, seed=0)
    plain = train(Trainer(model, data(), CONFIG))
    changed = train(Trainer(model, data(), replace(CONFIG, **change)))  # type: ignore[arg-type]
    assert [epoch.train_loss for epoch in plain.epochs] != [epoch.train_loss for epoch in changed.epochs]
    assert changed.epochs[-1].train_loss < changed.epochs[0].train_loss


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    MemoryError(),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["GPU", "CPU", "Python"])
def test_out_of_memory_halves_what_is_in_memory_and_keeps_the_batch(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    trainer = Trainer(model, data(), CONFIG)
    plan = FineTunePlan.constant(blocks, {block.name: 1e-3 for block in blocks}, norm="eval")
    whole = trainer.train(plan, blocks, seed=0)
    told: list[int] = []
    forward = model.module.forward

    def small_memory(images: torch.Tensor) -> torch.Tensor:
        if model.module.training and len(images) > 3:
            raise error
        return forward(images)  # type: ignore[no-any-return]

    monkeypatch.setattr(model.module, "forward", small_memory)
    trainer.on_smaller_batch = told.append
    parts = trainer.train(plan, blocks, seed=0)
    assert told == [4, 2]
    for epoch, other in zip(whole.epochs, parts.epochs, strict=True):
        assert epoch.train_loss == pytest.approx(other.train_loss, rel=1e-4)


def test_a_measurement_without_enough_memory_leaves_no_trace(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is only measured may never be trained: no batch is made smaller for it, and its time is estimated."""
    trainer, told = Trainer(model, data(), CONFIG), list[int]()
    trainer.on_smaller_batch = told.append
    forward, whole = model.module.forward, trainer.micro_batch
    first = next(model.module.parameters())

    def small_memory(images: torch.Tensor) -> torch.Tensor:
        if first.requires_grad:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(images)  # type: ignore[no-any-return]

    monkeypatch.setattr(model.module, "forward", small_memory)
    head, everything = (step_cost(trainer, plan_for(blocks, trained=trained), blocks) for trained in (1, len(blocks)))
    assert everything.seconds_per_image > head.seconds_per_image
    assert (told, trainer.micro_batch) == ([], whole)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["GPU", "CPU", "Python"])
def test_out_of_memory_with_two_images_is_the_end(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def no_memory(_: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(model.module, "forward", no_memory)
    trainer = Trainer(model, data(), CONFIG)
    with pytest.raises(TooLittleMemoryError, match="smaller model or `image_size`"):
        trainer.train(plan_for(blocks, trained=1), blocks, seed=0)
    with pytest.raises(TooLittleMemoryError):
        trainer.probabilities(np.arange(4))


def test_other_errors_of_a_network_are_not_out_of_memory(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(model.module, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        Trainer(model, data(), CONFIG).train(plan_for(blocks, trained=1), blocks, seed=0)


def test_a_batch_larger_than_the_data_is_cut_to_it(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    plan = plan_for(blocks, trained=1)
    all_at_once, huge = (
        Trainer(model, data(), replace(CONFIG, batch_size=size)) for size in (max(32, len(data().pixels)), 2**31)
    )
    assert huge.micro_batch == all_at_once.micro_batch
    expected, found = (trainer.train(plan, blocks, seed=0) for trainer in (all_at_once, huge))
    assert found.epochs == expected.epochs


def test_memory_grows_with_what_trains_and_with_the_batch(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    def memory(trained: int, batch_size: int) -> int:
        trainer = Trainer(model, data(), replace(CONFIG, batch_size=batch_size))
        return bytes_of_a_step(trainer, plan_for(blocks, trained=trained), blocks)

    assert memory(1, 8) < memory(len(blocks), 8) < memory(len(blocks), 16)
    trainer = Trainer(model, data(), replace(CONFIG, batch_size=8))
    assert step_cost(trainer, plan_for(blocks, trained=1), blocks).memory_bytes == memory(1, 8)


def test_a_longer_schedule_falls_less(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    """As in the paper: a cosine over 100 epochs is at 0.79 of its height after 30."""
    factors: list[float] = []
    config = replace(CONFIG, epochs=30, schedule_epochs=100, warmup_share=0, patience=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppliedPlan, "scale_rates", lambda self, factor: factors.append(factor))
        Trainer(model, data(), config).train(plan_for(blocks, trained=1), blocks, seed=0)
    assert factors[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.3)), abs=0.01)
    assert factors[-1] == pytest.approx(0.79, abs=0.01)
