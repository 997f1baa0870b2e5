"""A refit is the same training on more images: its schedule, its augmentation, its probe, without any validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.test_average import mixture, probed
from tests.training.test_trainer import CONFIG, data, equal, plan_for
from thawline.config import CacheConfig
from thawline.data.augment import Augmenter
from thawline.errors import NonFiniteLossError
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan
from thawline.records import ProbeRecord
from thawline.training.images import LabelledRows, TrainingData
from thawline.training.probe import solve_probe_at
from thawline.training.refit import RefitTrainer
from thawline.training.trainer import Trainer

KNOWN = ProbeRecord(strength=0.1, temperature=0.5, iterations=1, train_loss=0.0)


def both(augmenter: Augmenter | None = None) -> TrainingData:
    """All 30 images train; the last 10 are those of the validation split."""
    found = data(augmenter)
    labels = torch.cat([found.train.labels, found.val.labels])
    return replace(found, train=LabelledRows(np.arange(30), labels))


@pytest.mark.parametrize("epochs", [2, 3])
def test_it_is_the_beginning_of_the_nominal_training_on_all_images(
    model: LoadedModel, blocks: tuple[Block, ...], epochs: int
) -> None:
    augmented = both(Augmenter(30, views=2, seed=0))
    plan = replace(plan_for(blocks, trained=2), kept_epoch="last")
    whole = Trainer(model, augmented, CONFIG).train(plan, blocks, seed=5, until=epochs)
    found = RefitTrainer(model, augmented, CONFIG).refit(plan, blocks, seed=5, epochs=epochs, probe=None)
    assert equal(found.state, whole.state)
    assert found.losses == tuple(epoch.train_loss for epoch in whole.epochs)


def test_an_epoch_is_all_images_and_nothing_else(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    found = RefitTrainer(model, both(), CONFIG).refit(plan_for(blocks, trained=2), blocks, seed=0, epochs=2, probe=None)
    assert found.image_passes == 2 * 30


def test_validation_images_are_augmented_and_cached_with_the_others(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    trainer = RefitTrainer(model, both(Augmenter(30, views=2, seed=0)), CONFIG)
    plan = plan_for(blocks, trained=1)
    found = trainer.refit(plan, blocks, seed=0, epochs=3, probe=None)
    assert found.cache_hits == found.image_passes == 3 * 30
    plain = RefitTrainer(model, both(), CONFIG).refit(plan, blocks, seed=0, epochs=3, probe=None)
    assert not equal(found.state, plain.state)
    uncached = RefitTrainer(model, both(Augmenter(30, views=2, seed=0)), CONFIG, CacheConfig(0, 0))
    again = uncached.refit(plan, blocks, seed=0, epochs=3, probe=None)
    for name, tensor in found.state.items():
        torch.testing.assert_close(again.state[name], tensor, rtol=1e-3, atol=1e-4)


def test_the_probe_is_solved_on_all_images_with_what_was_found(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = RefitTrainer(model, both(), CONFIG)
    plan = FineTunePlan.constant(blocks, {}, head_start="probe")
    found = trainer.refit(plan, blocks, seed=0, epochs=0, probe=KNOWN)
    model.restore(0)
    features, labels = trainer.head_inputs(np.arange(30)), trainer.data.train.labels
    by_hand = solve_probe_at(features, labels, 2, strength=0.1, temperature=0.5, class_weights=None)
    assert found.probe is not None
    assert (found.probe.strength, found.probe.temperature) == (0.1, 0.5)
    weight = next(tensor for name, tensor in found.state.items() if name.endswith("weight"))
    torch.testing.assert_close(weight, by_hand.weight)
    assert found.losses == (found.probe.train_loss,)


def test_an_average_is_of_refits_that_start_from_the_refitted_probe(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    trainer = RefitTrainer(model, both(), CONFIG)
    mixed = mixture("weights", probed(blocks, 2), probed(blocks, 2, norm="eval"))
    first, second = (
        trainer.refit(member.plan, blocks, seed=seed, epochs=2, probe=KNOWN).state
        for seed, member in enumerate(mixed.members)
    )
    found = trainer.refit_average(mixed, blocks, [first, second], seed=0, probe=KNOWN)
    for name, tensor in found.state.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)


def test_weights_that_are_not_finite_are_not_kept(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thawline.training.steps.Steps.epoch", _spoil)
    with pytest.raises(NonFiniteLossError, match="NaN or infinite"):
        RefitTrainer(model, both(), CONFIG).refit(plan_for(blocks, trained=2), blocks, seed=0, epochs=1, probe=None)


def _spoil(steps: object, seed: int, epoch: int) -> float:
    parameter = next(iter(steps.applied.parameters.values()))  # type: ignore[attr-defined]
    with torch.no_grad():
        parameter.fill_(float("nan"))
    return 0.5
