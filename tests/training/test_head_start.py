"""A head that starts from the solved probe: what is in it, what it changes, and that it is the same in every way."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from tests.training.conftest import SIZE
from tests.training.test_trainer import CONFIG
from tests.training.test_trainer import data as noise
from thawline.config import CacheConfig
from thawline.data.augment import Augmenter
from thawline.errors import PlanError
from thawline.model.head import linear_head
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan
from thawline.training.balance import solver_weights
from thawline.training.images import LabelledRows
from thawline.training.trainer import TrainedModel, Trainer

data = partial(noise, images=40, train=24)
STILL = 1e-30
"""A rate at which no weight moves."""


def solved(blocks: tuple[Block, ...]) -> FineTunePlan:
    return FineTunePlan.constant(blocks, {}, head_start="probe")


def everything(blocks: tuple[Block, ...], rate: float, **others: object) -> FineTunePlan:
    rates = {block.name: rate for block in blocks}
    return FineTunePlan.constant(blocks, rates, norm="eval", head_start="probe", **others)  # type: ignore[arg-type]


def same(a: TrainedModel, b: TrainedModel) -> bool:
    equal = [torch.equal(a.state[name], b.state[name]) for name in a.state]
    return a.state.keys() == b.state.keys() and all(equal) and a.epochs == b.epochs


def test_a_solved_plan_changes_the_head_alone_whatever_the_seed(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    first, second = (trainer.train(solved(blocks), blocks, seed=seed) for seed in (0, 1))
    assert set(first.state) == {*blocks[-1].parameters, *blocks[-1].buffers}
    assert same(first, second)
    assert (len(first.epochs), first.best_epoch, first.epochs_run) == (1, 0, 0)
    assert first.image_passes == 24 + 16
    assert first.probe is not None
    assert first.epochs[0].train_loss == first.probe.train_loss


def test_the_probe_fits_better_than_a_random_head(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    found = trainer.train(solved(blocks), blocks, seed=0)
    random = trainer.train(replace(everything(blocks, STILL), head_start="random"), blocks, seed=0)
    (_, found_loss), (_, random_loss) = found.epochs[0].score, random.epochs[0].score
    assert -found_loss < -random_loss


def test_training_starts_from_the_probe(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    found = trainer.train(solved(blocks), blocks, seed=0)
    still = trainer.train(everything(blocks, STILL), blocks, seed=0)
    assert still.epochs[0].val_loss == pytest.approx(found.epochs[0].val_loss, abs=1e-6)
    assert found.probe is not None
    assert still.epochs[0].train_loss == pytest.approx(found.probe.train_loss, rel=1e-3)


def test_a_frozen_head_stays_as_solved(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    plan = FineTunePlan.constant(blocks, {blocks[-2].name: 1e-2}, norm="eval", head_start="probe")
    trained, head = trainer.train(plan, blocks, seed=0), trainer.train(solved(blocks), blocks, seed=0).state
    assert all(torch.equal(trained.state[name], tensor) for name, tensor in head.items())
    assert not torch.equal(trained.state[blocks[-2].parameters[0]], model.pristine()[blocks[-2].parameters[0]])


@pytest.mark.parametrize("augmented", [False, True])
def test_the_probe_is_the_same_with_and_without_a_cache(
    model: LoadedModel, blocks: tuple[Block, ...], augmented: bool
) -> None:
    images = data(Augmenter(40, views=2, seed=0) if augmented else None)
    kept, none = (
        Trainer(model, images, CONFIG, cache).train(solved(blocks), blocks, seed=0).probe
        for cache in (CacheConfig(), CacheConfig(0, 0))
    )
    assert kept is not None
    assert none is not None
    assert kept.strength == none.strength
    assert torch.allclose(kept.weight, none.weight, atol=1e-4)


def test_paused_and_continued_is_the_same_from_the_probe(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    whole = Trainer(model, data(), CONFIG).train(everything(blocks, 1e-2), blocks, seed=0)
    first = Trainer(model, data(), CONFIG).train(everything(blocks, 1e-2), blocks, seed=0, until=1)
    rest = Trainer(model, data(), CONFIG).train(everything(blocks, 1e-2), blocks, seed=0, start=first.paused)
    assert same(whole, rest)


def test_each_part_of_the_images_has_a_probe_of_its_own(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer, images = Trainer(model, data(), CONFIG), data().train
    part = LabelledRows(images.rows[:12], images.labels[:12])
    whole = trainer.train(solved(blocks), blocks, seed=0)
    half = trainer.train(solved(blocks), blocks, seed=0, images=part)
    assert not same(whole, half)
    assert same(whole, trainer.train(solved(blocks), blocks, seed=0))


@pytest.mark.parametrize(
    ("last", "is_linear"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)), True),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2, bias=False)), False),
        (nn.Sequential(nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), False),
        (nn.Sequential(nn.Flatten(2), nn.Linear(SIZE * SIZE, 2), nn.Flatten()), False),
    ],
)
def test_a_head_is_solved_if_it_is_a_linear_layer_on_pooled_features(last: nn.Module, is_linear: bool) -> None:
    head = linear_head(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), last), SIZE)
    assert isinstance(head, nn.Linear) is is_linear


def test_another_head_is_refused_before_anything_is_trained(
    model: LoadedModel, blocks: tuple[Block, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thawline.training.trainer.linear_head", lambda *_: None)
    with pytest.raises(PlanError, match=r"single linear layer.*linear_probe:solver=sgd"):
        Trainer(model, data(), CONFIG).train(everything(blocks, 1e-2), blocks, seed=0)


def test_balanced_classes_weigh_as_in_an_epoch_of_the_sampler() -> None:
    labels = torch.tensor([0, 0, 0, 2])
    weights = solver_weights(labels, 3, "sampler")
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / 6, 0, 2])
    assert float(weights[labels].sum()) == pytest.approx(4)
    assert solver_weights(labels, 3, "none") is None
