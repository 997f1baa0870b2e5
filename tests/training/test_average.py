"""Averages of weights and of outputs, by hand; what nobody trained keeps its bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.training.test_trainer import CONFIG, data, plan_for, weights
from thawline.config import CacheConfig
from thawline.model.load import LoadedModel
from thawline.plan import Block, FineTunePlan, Ingredient, Mixed, Mixture, NormMode
from thawline.training.mixing import mean_state, to_logits, weighted_mean
from thawline.training.trainer import TrainedModel, Trainer


def probed(blocks: tuple[Block, ...], trained: int, norm: NormMode = "eval") -> FineTunePlan:
    return replace(plan_for(blocks, trained=trained), norm=norm, head_start="probe")


def mixture(of: Mixed, *plans: FineTunePlan, start_share: float = 0.0, share: float = 1.0) -> FineTunePlan:
    first, *others = plans
    return replace(first, mixture=Mixture(of, tuple(Ingredient(plan, share=share) for plan in others), start_share))


def states(trainer: Trainer, blocks: tuple[Block, ...], mixed: FineTunePlan) -> list[dict[str, Tensor]]:
    return [trainer.train(member.plan, blocks, seed=0).state for member in mixed.members]


def average(trainer: Trainer, blocks: tuple[Block, ...], mixed: FineTunePlan) -> TrainedModel:
    return trainer.average(mixed, blocks, states(trainer, blocks, mixed), seed=0, train_loss=0.5)


def test_a_running_mean_keeps_the_bits_of_what_is_the_same() -> None:
    state = {"w": torch.randn(1000), "count": torch.tensor(3)}
    mean = mean_state([state] * 7, [1.0, 0.3, 2.0, 1.0, 0.1, 5.0, 1.0])
    assert torch.equal(mean["w"], state["w"])
    assert torch.equal(mean["count"], state["count"])


def test_a_weighted_mean_by_hand() -> None:
    found = weighted_mean([torch.tensor([0.0, 4.0]), torch.tensor([4.0, 0.0])], [1, 3])
    torch.testing.assert_close(found, torch.tensor([3.0, 1.0]))


def test_logits_of_probabilities_have_them_as_their_softmax() -> None:
    shares = torch.tensor([[0.2, 0.8, 0.0]])
    torch.testing.assert_close(torch.softmax(to_logits(shares), 1), shares)


@pytest.mark.parametrize("share", [1.0, 3.0])
def test_an_average_is_the_mean_of_the_weights(model: LoadedModel, blocks: tuple[Block, ...], share: float) -> None:
    trainer = Trainer(model, data(), CONFIG)
    mixed = mixture("weights", probed(blocks, 3), probed(blocks, 2), share=share)
    first, second = states(trainer, blocks, mixed)
    other, found = {**model.pristine(), **second}, average(trainer, blocks, mixed)
    assert set(found.state) == set(first), "what the widest member trains"
    for name, tensor in found.state.items():
        if tensor.is_floating_point():  # what the other froze has its pretrained value there
            torch.testing.assert_close(tensor, (first[name] + share * other[name]) / (1 + share))
    assert found.epochs[0].train_loss == 0.5
    loaded = weights(model)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in found.state.items())


def test_blocks_that_no_member_trains_keep_their_bits(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    average(trainer, blocks, mixture("weights", probed(blocks, 3), probed(blocks, 2), start_share=0.3))
    found, pristine = weights(model), model.pristine()
    for block in blocks[:-3]:
        assert all(torch.equal(found[name], pristine[name]) for name in (*block.parameters, *block.buffers))


def test_kept_statistics_keep_their_bits_in_an_average(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    average(trainer, blocks, mixture("weights", probed(blocks, 5), probed(blocks, 3), probed(blocks, 2)))
    found, pristine = weights(model), model.pristine()
    buffers = [name for block in blocks for name in block.buffers]
    assert any(name.endswith("running_mean") for name in buffers)
    assert all(torch.equal(found[name], pristine[name]) for name in buffers)


def test_the_whole_start_is_the_solved_probe(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    solved = FineTunePlan.constant(blocks, {}, norm="eval", head_start="probe")
    alone = trainer.train(solved, blocks, seed=0)
    found = average(trainer, blocks, mixture("weights", probed(blocks, 3), probed(blocks, 2), start_share=1.0))
    start = {**model.pristine(), **alone.state}
    for name, tensor in found.state.items():
        assert torch.equal(tensor, start[name]), name
    assert found.epochs[0].val_loss == pytest.approx(alone.epochs[0].val_loss, rel=1e-5)


def test_trained_statistics_are_recomputed_for_the_average(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    mixed = mixture("weights", probed(blocks, 4, "train"), probed(blocks, 3, "train"))
    first, second = states(trainer, blocks, mixed)
    found = average(trainer, blocks, mixed)
    name = next(name for name in found.state if name.endswith("running_var") and name in second)
    assert not torch.allclose(found.state[name], (first[name] + second[name]) / 2)
    assert found.mixing_passes == len(trainer.data.train) + len(trainer.data.val)
    trainer.load(found.state, seed=0)
    before = {name: tensor.clone() for name, tensor in found.state.items() if "running" in name}
    again = trainer.average(mixed, blocks, [first, second], seed=0, train_loss=0.5)
    assert all(torch.equal(again.state[name], tensor) for name, tensor in before.items()), "not the same twice"


def test_an_average_does_not_depend_on_where_outputs_of_frozen_blocks_are_kept(
    model: LoadedModel, blocks: tuple[Block, ...]
) -> None:
    mixed = mixture("weights", probed(blocks, 3), probed(blocks, 2))
    caches = (CacheConfig(), CacheConfig(0, 1 << 30))
    first, second = (average(Trainer(model, data(), CONFIG, cache), blocks, mixed) for cache in caches)
    assert first.cache_hits == second.cache_hits > 0
    assert all(torch.equal(first.state[name], tensor) for name, tensor in second.state.items())
    assert first.epochs == second.epochs


def test_the_mean_output_is_that_of_the_members(model: LoadedModel, blocks: tuple[Block, ...]) -> None:
    trainer = Trainer(model, data(), CONFIG)
    mixed = mixture("outputs", plan_for(blocks, trained=4), probed(blocks, 2), share=2.0)
    parts = states(trainer, blocks, mixed)
    rows, labels = trainer.data.val.rows, trainer.data.val.labels
    first, second = (trainer.probabilities_with(part, rows, seed=0) for part in parts)
    mean = (first + 2 * second) / 3
    found = trainer.mean_output(mixed, parts, seed=0, train_loss=0.5)
    assert found.state == {}
    assert found.epochs[0].val_loss == pytest.approx(float(-mean.gather(1, labels[:, None]).log().mean()), rel=1e-5)
    assert found.right is not None
    assert found.right.tolist() == (mean.argmax(1) == labels).tolist()


def test_image_losses_have_the_scaled_loss_as_their_mean(model: LoadedModel) -> None:
    for metric in ("accuracy", "macro_f1"):
        trainer = Trainer(model, data(), replace(CONFIG, metric=metric))
        logits = torch.randn(len(trainer.data.val), 2) * 3
        assert float(trainer.image_losses(logits).mean()) == pytest.approx(trainer.scaled_loss(logits))
